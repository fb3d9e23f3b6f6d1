/* A driver without a GPU behind it, for tests of what is said of drivers. Each answer is a macro:

       cc -shared -fPIC -DINIT=803 -o libcuda.so.1 libcuda.c
*/
#include <stddef.h>
#include <string.h>

/* Codes of cuInit, of cuDeviceGetName, and of cuDevicePrimaryCtxRetain. */
#ifndef INIT
#define INIT 0
#endif
#ifndef NAME
#define NAME 0
#endif
#ifndef CONTEXT
#define CONTEXT 0
#endif
/* The newest CUDA that it supports, 1000 major + 10 minor; its devices, and their compute capability, 10 major + minor. */
#ifndef VERSION
#define VERSION 13000
#endif
#ifndef COUNT
#define COUNT 1
#endif
#ifndef CAPABILITY
#define CAPABILITY 90
#endif

enum { MAJOR = 75, MINOR = 76 };

int cuInit(unsigned flags) { return flags ? 1 : INIT; }
int cuDriverGetVersion(int *version) {
    *version = VERSION;
    return 0;
}
int cuDeviceGetCount(int *count) {
    *count = COUNT;
    return 0;
}
int cuDeviceGet(int *device, int index) {
    *device = index;
    return index < COUNT ? 0 : 101;
}
int cuDeviceGetName(char *name, int len, int device) {
    (void)device;
    if (NAME == 0) strncpy(name, "Stand-in", (size_t)len);
    return NAME;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    (void)device;
    *bytes = (size_t)8 << 30;
    return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    *value = attribute == MAJOR ? CAPABILITY / 10 : attribute == MINOR ? CAPABILITY % 10 : 1;
    return 0;
}
int cuGetErrorName(int code, const char **name) {
    if (code == 12345) {
        *name = "CUDA_ERROR_OF_TOMORROW";
        return 0;
    }
    *name = NULL;
    return 1;
}
int cuDevicePrimaryCtxRetain(void **context, int device) {
    (void)device;
    *context = NULL;
    return CONTEXT;
}
int cuDevicePrimaryCtxRelease_v2(int device) {
    (void)device;
    return 0;
}
