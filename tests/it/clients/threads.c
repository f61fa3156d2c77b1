/* Four threads use one token at once, each through sessions of its own, while a fifth makes and destroys keys: threads MODULE PIN.
   The header with the PKCS#11 types is chosen by the compiler's -include. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 4
#define ROUNDS 12

static CK_FUNCTION_LIST *p11;
static CK_SLOT_ID slot;
static CK_OBJECT_HANDLE shared;

static void check(const char *what, CK_RV rv)
{
	if (rv != CKR_OK) {
		fprintf(stderr, "%s: 0x%lx\n", what, (unsigned long)rv);
		exit(1);
	}
}

static CK_SESSION_HANDLE open_session(void)
{
	CK_SESSION_HANDLE session;
	check("C_OpenSession", p11->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session));
	return session;
}

static CK_OBJECT_HANDLE make_key(CK_SESSION_HANDLE session, CK_BBOOL token)
{
	CK_BBOOL yes = CK_TRUE;
	CK_ULONG length = 32;
	CK_ATTRIBUTE template[] = {
		{ CKA_TOKEN, &token, sizeof token },
		{ CKA_ENCRYPT, &yes, sizeof yes },
		{ CKA_VALUE_LEN, &length, sizeof length },
	};
	CK_MECHANISM generate = { CKM_AES_KEY_GEN, NULL, 0 };
	CK_OBJECT_HANDLE key;
	check("C_GenerateKey", p11->C_GenerateKey(session, &generate, template, 3, &key));
	return key;
}

static void *use(void *unused)
{
	CK_MECHANISM ecb = { CKM_AES_ECB, NULL, 0 };
	(void)unused;
	for (int round = 0; round < ROUNDS; round++) {
		CK_SESSION_HANDLE session = open_session();
		CK_OBJECT_HANDLE keys[] = { shared, make_key(session, CK_FALSE) }, found[64];
		for (int at = 0; at < 2; at++) {
			CK_BYTE block[16] = { 0 }, out[16];
			CK_ULONG length = sizeof out;
			check("C_EncryptInit", p11->C_EncryptInit(session, &ecb, keys[at]));
			check("C_Encrypt", p11->C_Encrypt(session, block, sizeof block, out, &length));
		}
		CK_ULONG count = 0;
		check("C_FindObjectsInit", p11->C_FindObjectsInit(session, NULL, 0));
		check("C_FindObjects", p11->C_FindObjects(session, found, 64, &count));
		check("C_FindObjectsFinal", p11->C_FindObjectsFinal(session));
		check("C_CloseSession", p11->C_CloseSession(session));
	}
	return NULL;
}

static void *change(void *unused)
{
	CK_SESSION_HANDLE session = open_session();
	(void)unused;
	for (int round = 0; round < ROUNDS; round++)
		check("C_DestroyObject", p11->C_DestroyObject(session, make_key(session, CK_TRUE)));
	check("C_CloseSession", p11->C_CloseSession(session));
	return NULL;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	void *module = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
	if (module == NULL) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	CK_C_GetFunctionList get_list = (CK_C_GetFunctionList)dlsym(module, "C_GetFunctionList");
	CK_C_INITIALIZE_ARGS threads_of_the_system;
	memset(&threads_of_the_system, 0, sizeof threads_of_the_system);
	threads_of_the_system.flags = CKF_OS_LOCKING_OK;
	check("C_GetFunctionList", get_list(&p11));
	check("C_Initialize", p11->C_Initialize(&threads_of_the_system));
	CK_SLOT_ID slots[16];
	CK_ULONG count = 16;
	check("C_GetSlotList", p11->C_GetSlotList(CK_TRUE, slots, &count));
	for (CK_ULONG at = 0; at < count; at++) {
		CK_TOKEN_INFO info;
		check("C_GetTokenInfo", p11->C_GetTokenInfo(slots[at], &info));
		if (info.flags & CKF_TOKEN_INITIALIZED)
			slot = slots[at];
	}

	CK_SESSION_HANDLE session = open_session();
	check("C_Login", p11->C_Login(session, CKU_USER, (CK_BYTE *)argv[2], (CK_ULONG)strlen(argv[2])));
	shared = make_key(session, CK_TRUE);
	pthread_t threads[THREADS + 1];
	for (int at = 0; at <= THREADS; at++)
		if (pthread_create(&threads[at], NULL, at < THREADS ? use : change, NULL) != 0)
			return 1;
	for (int at = 0; at <= THREADS; at++)
		pthread_join(threads[at], NULL);
	check("C_DestroyObject", p11->C_DestroyObject(session, shared));
	check("C_Finalize", p11->C_Finalize(NULL));
	printf("%d threads are done\n", THREADS + 1);
	return dlclose(module);
}
