/* Shows without the suite what it finds in the decryption of messages: that a forged message leaves its plaintext behind, and that it ends the
 * decryption of all others.
 *
 *   cc -Wall -Wextra -I/usr/include/p11-kit-1 -o messages messages.c -ldl
 *   KRYOPTIC_CONF=one-slot.conf ./messages libkryoptic_pkcs11.so      (makes a token in the first slot)
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <p11-kit/pkcs11.h>

/* CK_GCM_MESSAGE_PARAMS; this header knows 2.40 only. */
struct message { unsigned char *iv; unsigned long iv_len, fixed_bits, generator; unsigned char *tag; unsigned long tag_bits; };
struct interface { char *name; void *table; unsigned long flags; };
typedef CK_RV (*Interface)(char *, void *, struct interface **, unsigned long);
typedef CK_RV (*Init)(CK_SESSION_HANDLE, CK_MECHANISM *, CK_OBJECT_HANDLE);
typedef CK_RV (*Message)(CK_SESSION_HANDLE, void *, CK_ULONG, void *, CK_ULONG, unsigned char *, CK_ULONG, unsigned char *, CK_ULONG *);

/* Places of the functions of 3.0 in its table, behind the 68 of 2.40. */
enum { ENCRYPT_INIT = 72, ENCRYPT = 73, DECRYPT_INIT = 77, DECRYPT = 78 };

static void must(CK_RV rv, const char *what) {
  if (rv != CKR_OK) fprintf(stderr, "%s: 0x%lx\n", what, rv);
}

int main(int count, char **words) {
  void *module = count == 2 ? dlopen(words[1], RTLD_NOW) : NULL;
  Interface get = module ? (Interface)dlsym(module, "C_GetInterface") : NULL;
  unsigned char version[2] = {3, 0};
  struct interface *found = NULL;
  if (!get || get("PKCS 11", version, &found, 0) != CKR_OK) return fprintf(stderr, "no module with an interface of 3.0\n");
  CK_FUNCTION_LIST *f = found->table;
  void **all = (void **)found->table + 1;
  unsigned char pin[] = "1234567890", label[32], key[32] = {1}, iv[12] = {9}, tag[16] = {0}, sealed[64], opened[64];
  unsigned char plain[] = "a plaintext of thirty-two bytes.";
  CK_SLOT_ID slots[64];
  CK_ULONG len = 64;
  CK_SESSION_HANDLE at;
  memset(label, ' ', 32);
  must(f->C_Initialize(NULL), "C_Initialize");
  must(f->C_GetSlotList(CK_TRUE, slots, &len), "C_GetSlotList");
  must(f->C_InitToken(slots[0], pin, 10, label), "C_InitToken");
  must(f->C_OpenSession(slots[0], CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &at), "C_OpenSession");
  must(f->C_Login(at, CKU_SO, pin, 10), "C_Login as SO");
  must(f->C_InitPIN(at, pin, 10), "C_InitPIN");
  must(f->C_Logout(at), "C_Logout");
  must(f->C_Login(at, CKU_USER, pin, 10), "C_Login");
  CK_OBJECT_CLASS class = CKO_SECRET_KEY;
  CK_KEY_TYPE type = CKK_AES;
  CK_BBOOL yes = CK_TRUE;
  CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class}, {CKA_KEY_TYPE, &type, sizeof type}, {CKA_VALUE, key, 32},
                             {CKA_ENCRYPT, &yes, 1}, {CKA_DECRYPT, &yes, 1}};
  CK_OBJECT_HANDLE handle = 0;
  CK_MECHANISM gcm = {0x1087, NULL, 0};
  struct message message = {iv, 12, 0, 0, tag, 128};
  must(f->C_CreateObject(at, template, 5, &handle), "C_CreateObject");
  must(((Init)all[ENCRYPT_INIT])(at, &gcm, handle), "C_MessageEncryptInit");
  must(((Init)all[DECRYPT_INIT])(at, &gcm, handle), "C_MessageDecryptInit");
  len = sizeof sealed;
  must(((Message)all[ENCRYPT])(at, &message, sizeof message, NULL, 0, plain, 32, sealed, &len), "C_EncryptMessage");
  tag[0] ^= 1;
  memset(opened, 0, sizeof opened);
  len = sizeof opened;
  CK_RV forged = ((Message)all[DECRYPT])(at, &message, sizeof message, NULL, 0, sealed, 32, opened, &len);
  printf("a forged message: 0x%lx, plaintext in the buffer: %s\n", forged, memcmp(opened, plain, 32) ? "no" : "yes");
  tag[0] ^= 1;
  len = sizeof opened;
  CK_RV good = ((Message)all[DECRYPT])(at, &message, sizeof message, NULL, 0, sealed, 32, opened, &len);
  printf("a good message after it: 0x%lx\n", good);
  return 0;
}
