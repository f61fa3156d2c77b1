/* Makes a key pair in the token, signs with it, verifies, removes it: client MODULE LABEL PIN.
   The header with the PKCS#11 types is chosen by the compiler's -include. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(const char *what, CK_RV rv)
{
	if (rv != CKR_OK) {
		fprintf(stderr, "%s: 0x%lx\n", what, (unsigned long)rv);
		exit(1);
	}
}

static CK_SLOT_ID slot_labelled(CK_FUNCTION_LIST *p11, const char *label)
{
	CK_SLOT_ID slots[16];
	CK_ULONG count = 16;
	check("C_GetSlotList", p11->C_GetSlotList(CK_TRUE, slots, &count));
	for (CK_ULONG i = 0; i < count; i++) {
		CK_TOKEN_INFO info;
		check("C_GetTokenInfo", p11->C_GetTokenInfo(slots[i], &info));
		if (memcmp(info.label, label, strlen(label)) == 0)
			return slots[i];
	}
	fprintf(stderr, "no token is labelled %s\n", label);
	exit(1);
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	void *module = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
	if (module == NULL) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	CK_C_GetFunctionList get_list = (CK_C_GetFunctionList)dlsym(module, "C_GetFunctionList");
	CK_FUNCTION_LIST *p11 = NULL;
	check("C_GetFunctionList", get_list(&p11));
	check("C_Initialize", p11->C_Initialize(NULL));

	CK_SESSION_HANDLE session;
	CK_SLOT_ID slot = slot_labelled(p11, argv[2]);
	check("C_OpenSession", p11->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session));
	check("C_Login", p11->C_Login(session, CKU_USER, (CK_BYTE *)argv[3], (CK_ULONG)strlen(argv[3])));

	CK_BYTE p256[] = { 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07 };
	CK_BBOOL yes = CK_TRUE;
	CK_ATTRIBUTE public_template[] = {
		{ CKA_TOKEN, &yes, sizeof yes },
		{ CKA_VERIFY, &yes, sizeof yes },
		{ CKA_EC_PARAMS, p256, sizeof p256 },
	};
	CK_ATTRIBUTE private_template[] = { { CKA_TOKEN, &yes, sizeof yes }, { CKA_SIGN, &yes, sizeof yes } };
	CK_MECHANISM generate = { CKM_EC_KEY_PAIR_GEN, NULL, 0 };
	CK_OBJECT_HANDLE public_key, private_key;
	check("C_GenerateKeyPair", p11->C_GenerateKeyPair(session, &generate, public_template, 3, private_template, 2,
							  &public_key, &private_key));

	CK_BYTE digest[32] = { 7 }, signature[64];
	CK_ULONG signature_len = sizeof signature;
	CK_MECHANISM ecdsa = { CKM_ECDSA, NULL, 0 };
	check("C_SignInit", p11->C_SignInit(session, &ecdsa, private_key));
	check("C_Sign", p11->C_Sign(session, digest, sizeof digest, signature, &signature_len));
	check("C_VerifyInit", p11->C_VerifyInit(session, &ecdsa, public_key));
	check("C_Verify", p11->C_Verify(session, digest, sizeof digest, signature, signature_len));
	printf("signed %lu bytes\n", (unsigned long)signature_len);

	CK_BYTE random[64];
	check("C_GenerateRandom", p11->C_GenerateRandom(session, random, sizeof random));
	check("C_DestroyObject", p11->C_DestroyObject(session, public_key));
	check("C_DestroyObject", p11->C_DestroyObject(session, private_key));
	check("C_Logout", p11->C_Logout(session));
	check("C_CloseSession", p11->C_CloseSession(session));
	check("C_Finalize", p11->C_Finalize(NULL));
	return dlclose(module);
}
