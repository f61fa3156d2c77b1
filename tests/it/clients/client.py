"""Makes and uses keys through python-pkcs11; every result is checked by the `cryptography` package.

usage: client.py MODULE LABEL PIN
"""

import hashlib
import sys

import pkcs11
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from pkcs11.util.ec import encode_ec_public_key, encode_named_curve_parameters
from pkcs11.util.rsa import encode_rsa_public_key

DATA = b"attack at dawn"


def check_rsa(session):
    public, private = session.generate_keypair(pkcs11.KeyType.RSA, 2048, label="rsa")
    signature = private.sign(DATA, mechanism=pkcs11.Mechanism.SHA256_RSA_PKCS)
    known = serialization.load_der_public_key(rsa_spki(public))
    known.verify(signature, DATA, padding.PKCS1v15(), hashes.SHA256())
    sealed = known.encrypt(DATA, padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None))
    parameters = (pkcs11.Mechanism.SHA_1, pkcs11.MGF.SHA1, None)
    assert private.decrypt(sealed, mechanism=pkcs11.Mechanism.RSA_PKCS_OAEP, mechanism_param=parameters) == DATA
    print("rsa verified")


def rsa_spki(public):
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

    modulus = int.from_bytes(public[pkcs11.Attribute.MODULUS], "big")
    exponent = int.from_bytes(public[pkcs11.Attribute.PUBLIC_EXPONENT], "big")
    key = RSAPublicNumbers(exponent, modulus).public_key()
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def ec_pair(session, label):
    parameters = session.create_domain_parameters(
        pkcs11.KeyType.EC,
        {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")},
        local=True,
    )
    capabilities = pkcs11.MechanismFlag.SIGN | pkcs11.MechanismFlag.VERIFY | pkcs11.MechanismFlag.DERIVE
    return parameters.generate_keypair(store=True, label=label, capabilities=capabilities)


def check_ec(session):
    public, private = ec_pair(session, "ec")
    # Without a hash in the mechanism: SoftHSM 2.6.1 has no ECDSA with one.
    signature = private.sign(hashlib.sha256(DATA).digest(), mechanism=pkcs11.Mechanism.ECDSA)
    half = len(signature) // 2
    der = encode_dss_signature(int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))
    known = serialization.load_der_public_key(encode_ec_public_key(public))
    known.verify(der, DATA, ec.ECDSA(hashes.SHA256()))
    print("ec verified")

    peer = ec.generate_private_key(ec.SECP256R1())
    point = peer.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    shared = private.derive_key(
        pkcs11.KeyType.AES,
        256,
        mechanism_param=(pkcs11.KDF.NULL, None, point),
        template={pkcs11.Attribute.SENSITIVE: False, pkcs11.Attribute.EXTRACTABLE: True},
    )
    assert shared[pkcs11.Attribute.VALUE] == peer.exchange(ec.ECDH(), known)
    print("ecdh verified")


def check_aes(session):
    template = {pkcs11.Attribute.SENSITIVE: False, pkcs11.Attribute.EXTRACTABLE: True}
    key = session.generate_key(pkcs11.KeyType.AES, 256, label="aes", store=True, template=template)
    iv = session.generate_random(128)
    sealed = key.encrypt(DATA, mechanism_param=iv)
    padder = PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key[pkcs11.Attribute.VALUE]), modes.CBC(iv)).encryptor()
    assert sealed == encryptor.update(padder.update(DATA) + padder.finalize()) + encryptor.finalize()
    assert key.decrypt(sealed, mechanism_param=iv) == DATA
    print("aes verified")


def main():
    module, label, pin = sys.argv[1:]
    token = pkcs11.lib(module).get_token(token_label=label)
    with token.open(rw=True, user_pin=pin) as session:
        check_rsa(session)
        check_ec(session)
        check_aes(session)
        labels = {key.label for key in session.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY})}
        assert "aes" in labels, labels


main()
