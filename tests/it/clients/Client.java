import java.nio.file.*;
import java.security.*;
import java.util.*;
import javax.crypto.*;
import javax.crypto.spec.*;

/** Signs, decrypts and encrypts with keys of the token whose SunPKCS11 configuration and PIN are the arguments. */
public class Client {
    public static void main(String[] arguments) throws Exception {
        Provider provider = Security.getProvider("SunPKCS11").configure(arguments[0]);
        Security.addProvider(provider);
        KeyStore store = KeyStore.getInstance("PKCS11", provider);
        store.load(null, arguments[1].toCharArray());
        byte[] data = Files.readAllBytes(Path.of("data"));

        for (String[] pair : new String[][] {{"rsa", "SHA256withRSA"}, {"ec", "SHA256withECDSA"}}) {
            Signature signature = Signature.getInstance(pair[1], provider);
            signature.initSign((PrivateKey) store.getKey(pair[0], null));
            signature.update(data);
            Files.write(Path.of(pair[0] + ".signature"), signature.sign());
        }

        Cipher rsa = Cipher.getInstance("RSA/ECB/PKCS1Padding", provider);
        rsa.init(Cipher.DECRYPT_MODE, (PrivateKey) store.getKey("rsa", null));
        Files.write(Path.of("opened"), rsa.doFinal(Files.readAllBytes(Path.of("sealed"))));

        KeyGenerator generator = KeyGenerator.getInstance("AES", provider);
        generator.init(256);
        SecretKey key = generator.generateKey();
        byte[] iv = new byte[16];
        SecureRandom.getInstance("PKCS11", provider).nextBytes(iv);
        Cipher sealing = Cipher.getInstance("AES/CBC/PKCS5Padding", provider);
        sealing.init(Cipher.ENCRYPT_MODE, key, new IvParameterSpec(iv));
        byte[] sealed = sealing.doFinal(data);
        Cipher opening = Cipher.getInstance("AES/CBC/PKCS5Padding", provider);
        opening.init(Cipher.DECRYPT_MODE, key, new IvParameterSpec(iv));
        if (!Arrays.equals(opening.doFinal(sealed), data) || Arrays.equals(sealed, data)) {
            throw new IllegalStateException("AES round trip does not hold");
        }
        System.out.println("AES round trip holds");
    }
}
