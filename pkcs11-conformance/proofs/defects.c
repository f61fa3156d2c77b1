/* Defects that the suite finds in modules, shown by a program that shares no line with it: C, and p11-kit's header.
 *
 *   cc -o defects defects.c $(pkg-config --cflags p11-kit-1) -ldl
 *   SOFTHSM2_CONF=... ./defects MODULE TOKEN-LABEL PIN
 *
 * INIT_ARGS in the environment is pReserved of C_Initialize (NSS). Prints a line for each: "case: defect" or "case: sound". Exit code 0 when
 * all could be tried.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <p11-kit/pkcs11.h>

static CK_FUNCTION_LIST *p11;
static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;

static void must(CK_RV rv, const char *what) {
    if (rv != CKR_OK) {
        fprintf(stderr, "%s: 0x%lx\n", what, rv);
        exit(2);
    }
}

static CK_SESSION_HANDLE session_of(const char *label, const char *pin) {
    CK_SLOT_ID slots[64];
    CK_ULONG count = 64;
    must(p11->C_GetSlotList(CK_TRUE, slots, &count), "C_GetSlotList");
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        must(p11->C_GetTokenInfo(slots[i], &info), "C_GetTokenInfo");
        if (strncmp((char *)info.label, label, strlen(label)) == 0 && info.label[strlen(label)] == ' ') {
            CK_SESSION_HANDLE session;
            must(p11->C_OpenSession(slots[i], CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session), "C_OpenSession");
            must(p11->C_Login(session, CKU_USER, (CK_UTF8CHAR *)pin, strlen(pin)), "C_Login");
            return session;
        }
    }
    fprintf(stderr, "no token is called %s\n", label);
    exit(2);
}

/* object/find-oracle: whoever can search can guess the value of a sensitive key, byte by byte or as a whole. */
static void find_oracle(CK_SESSION_HANDLE session) {
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_AES;
    CK_BYTE value[16] = "an AES key's 16B";
    CK_ATTRIBUTE key[] = {{CKA_CLASS, &class, sizeof class}, {CKA_KEY_TYPE, &type, sizeof type}, {CKA_TOKEN, &no, 1},
                          {CKA_SENSITIVE, &yes, 1}, {CKA_EXTRACTABLE, &no, 1}, {CKA_VALUE, value, sizeof value}};
    CK_OBJECT_HANDLE made, found;
    CK_ULONG count = 0;
    must(p11->C_CreateObject(session, key, 6, &made), "C_CreateObject");
    CK_RV rv = p11->C_FindObjectsInit(session, &key[5], 1);
    if (rv == CKR_OK) {
        must(p11->C_FindObjects(session, &found, 1, &count), "C_FindObjects");
        must(p11->C_FindObjectsFinal(session), "C_FindObjectsFinal");
    }
    printf("object/find-oracle: %s\n", count == 1 && found == made ? "defect" : "sound");
}

/* operation/logout-ends: a private key goes on signing after its user has logged out. */
static void logout_ends(CK_SESSION_HANDLE session, const char *pin) {
    CK_BYTE p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}, hash[32] = {7}, signature[64];
    CK_ATTRIBUTE public[] = {{CKA_EC_PARAMS, p256, sizeof p256}, {CKA_TOKEN, &no, 1}};
    CK_ATTRIBUTE private[] = {{CKA_TOKEN, &no, 1}, {CKA_PRIVATE, &yes, 1}, {CKA_SIGN, &yes, 1}};
    CK_MECHANISM generate = {CKM_EC_KEY_PAIR_GEN, NULL, 0}, sign = {CKM_ECDSA, NULL, 0};
    CK_OBJECT_HANDLE pair[2];
    CK_ULONG len = sizeof signature;
    must(p11->C_GenerateKeyPair(session, &generate, public, 2, private, 3, &pair[0], &pair[1]), "C_GenerateKeyPair");
    must(p11->C_SignInit(session, &sign, pair[1]), "C_SignInit");
    must(p11->C_Logout(session), "C_Logout");
    CK_RV rv = p11->C_Sign(session, hash, sizeof hash, signature, &len);
    printf("operation/logout-ends: %s\n", rv == CKR_OK ? "defect" : "sound");
    must(p11->C_Login(session, CKU_USER, (CK_UTF8CHAR *)pin, strlen(pin)), "C_Login again");
}

/* object/set-is-atomic: a call that must fail succeeds, or fails and has changed something. */
static void set_is_atomic(CK_SESSION_HANDLE session) {
    CK_OBJECT_CLASS class = CKO_DATA, other = CKO_SECRET_KEY;
    CK_ATTRIBUTE object[] = {{CKA_CLASS, &class, sizeof class}, {CKA_TOKEN, &no, 1}, {CKA_LABEL, "before", 6}};
    CK_ATTRIBUTE change[] = {{CKA_LABEL, "after!", 6}, {CKA_CLASS, &other, sizeof other}};
    char label[6];
    CK_ATTRIBUTE read = {CKA_LABEL, label, sizeof label};
    CK_OBJECT_HANDLE made;
    must(p11->C_CreateObject(session, object, 3, &made), "C_CreateObject");
    CK_RV rv = p11->C_SetAttributeValue(session, made, change, 2);
    // An object whose class was changed cannot be read at all in some modules.
    if (rv != CKR_OK) must(p11->C_GetAttributeValue(session, made, &read, 1), "C_GetAttributeValue");
    printf("object/set-is-atomic: %s\n", rv == CKR_OK || memcmp(label, "after!", 6) == 0 ? "defect" : "sound");
}

static CK_OBJECT_HANDLE unextractable_key(CK_SESSION_HANDLE session) {
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_AES;
    CK_BYTE value[16] = "never to get out";
    CK_ATTRIBUTE key[] = {{CKA_CLASS, &class, sizeof class}, {CKA_KEY_TYPE, &type, sizeof type}, {CKA_TOKEN, &no, 1},
                          {CKA_SENSITIVE, &yes, 1}, {CKA_EXTRACTABLE, &no, 1}, {CKA_VALUE, value, sizeof value}};
    CK_OBJECT_HANDLE made;
    must(p11->C_CreateObject(session, key, 6, &made), "C_CreateObject of an unextractable key");
    return made;
}

/* key/wrap-unextractable: a key that must not leave the token leaves it under a key of the caller's. */
static void wrap_unextractable(CK_SESSION_HANDLE session) {
    CK_ULONG bytes = 32, len = 256;
    CK_ATTRIBUTE key[] = {{CKA_TOKEN, &no, 1}, {CKA_VALUE_LEN, &bytes, sizeof bytes}, {CKA_WRAP, &yes, 1}};
    CK_BYTE iv[16] = {0}, blob[256];
    CK_MECHANISM generate = {CKM_AES_KEY_GEN, NULL, 0}, wrap = {CKM_AES_CBC_PAD, iv, sizeof iv};
    CK_OBJECT_HANDLE wrapping, inside = unextractable_key(session);
    must(p11->C_GenerateKey(session, &generate, key, 3, &wrapping), "C_GenerateKey");
    CK_RV rv = p11->C_WrapKey(session, &wrap, wrapping, inside, blob, &len);
    printf("key/wrap-unextractable: %s\n", rv == CKR_OK ? "defect" : "sound");
}

/* object/copy-does-not-weaken: a copy may leave the token where its original may not. */
static void copy_weakens(CK_SESSION_HANDLE session) {
    CK_BBOOL extractable = CK_FALSE;
    CK_ATTRIBUTE open = {CKA_EXTRACTABLE, &yes, 1}, read = {CKA_EXTRACTABLE, &extractable, 1};
    CK_OBJECT_HANDLE copy;
    CK_RV rv = p11->C_CopyObject(session, unextractable_key(session), &open, 1, &copy);
    if (rv == CKR_OK) must(p11->C_GetAttributeValue(session, copy, &read, 1), "C_GetAttributeValue");
    printf("object/copy-does-not-weaken: %s\n", extractable ? "defect" : "sound");
}

/* security/trusted-by-user: whoever may wrap says himself that his wrapping key is trusted. */
static void user_trusts(CK_SESSION_HANDLE session) {
    CK_ULONG bytes = 32;
    CK_ATTRIBUTE key[] = {{CKA_TOKEN, &no, 1}, {CKA_VALUE_LEN, &bytes, sizeof bytes}, {CKA_WRAP, &yes, 1}, {CKA_TRUSTED, &yes, 1}};
    CK_MECHANISM generate = {CKM_AES_KEY_GEN, NULL, 0};
    CK_OBJECT_HANDLE made;
    CK_RV rv = p11->C_GenerateKey(session, &generate, key, 4, &made);
    printf("security/trusted-by-user: %s\n", rv == CKR_OK ? "defect" : "sound");
}

/* security/private-without-login: a private object is made where nobody has logged in. */
static void private_without_login(CK_SESSION_HANDLE session, const char *pin) {
    CK_OBJECT_CLASS class = CKO_DATA;
    CK_ATTRIBUTE object[] = {{CKA_CLASS, &class, sizeof class}, {CKA_TOKEN, &no, 1}, {CKA_PRIVATE, &yes, 1}, {CKA_VALUE, "x", 1}};
    CK_OBJECT_HANDLE made;
    must(p11->C_Logout(session), "C_Logout");
    CK_RV rv = p11->C_CreateObject(session, object, 4, &made);
    printf("security/private-without-login: %s\n", rv == CKR_OK ? "defect" : "sound");
    must(p11->C_Login(session, CKU_USER, (CK_UTF8CHAR *)pin, strlen(pin)), "C_Login again");
}

/* security/null-inside: a NULL pointer with a length, inside a parameter, ends the process. */
static void null_inside(const char *module, const char *label, const char *pin) {
    pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", "defects", module, label, pin, "null-inside", NULL);
        _exit(3);
    }
    int status;
    waitpid(child, &status, 0);
    printf("security/null-inside: %s\n", WIFSIGNALED(status) ? "defect" : WEXITSTATUS(status) == 0 ? "sound" : "not tried");
}

static int null_inside_child(CK_SESSION_HANDLE session) {
    CK_ULONG bytes = 16;
    CK_ATTRIBUTE key[] = {{CKA_TOKEN, &no, 1}, {CKA_VALUE_LEN, &bytes, sizeof bytes}, {CKA_ENCRYPT, &yes, 1}};
    CK_MECHANISM generate = {CKM_AES_KEY_GEN, NULL, 0};
    struct { CK_BYTE *iv; CK_ULONG iv_len, iv_bits; CK_BYTE *aad; CK_ULONG aad_len, tag_bits; } gcm = {NULL, 12, 96, NULL, 16, 128};
    CK_MECHANISM encrypt = {CKM_AES_GCM, &gcm, sizeof gcm};
    CK_OBJECT_HANDLE made;
    must(p11->C_GenerateKey(session, &generate, key, 3, &made), "C_GenerateKey");
    return p11->C_EncryptInit(session, &encrypt, made) == CKR_OK ? 4 : 0;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: %s MODULE TOKEN-LABEL PIN\n", argv[0]);
        return 2;
    }
    void *library = dlopen(argv[1], RTLD_NOW);
    CK_C_GetFunctionList list = library ? (CK_C_GetFunctionList)dlsym(library, "C_GetFunctionList") : NULL;
    if (!list) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    must(list(&p11), "C_GetFunctionList");
    CK_C_INITIALIZE_ARGS arguments = {NULL, NULL, NULL, NULL, CKF_OS_LOCKING_OK, getenv("INIT_ARGS")};
    must(p11->C_Initialize(arguments.pReserved ? &arguments : NULL), "C_Initialize");
    CK_SESSION_HANDLE session = session_of(argv[2], argv[3]);
    if (argc > 4) return null_inside_child(session);
    find_oracle(session);
    logout_ends(session, argv[3]);
    set_is_atomic(session);
    wrap_unextractable(session);
    copy_weakens(session);
    user_trusts(session);
    private_without_login(session, argv[3]);
    fflush(stdout);
    null_inside(argv[1], argv[2], argv[3]);
    return 0;
}
