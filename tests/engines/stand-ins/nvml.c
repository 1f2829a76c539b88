/* Stands in for libnvidia-ml.so.1, the library by which NVIDIA's driver describes its GPUs.
 *
 * The environment says what it answers:
 *   NVML_INIT    the code that nvmlInitWithFlags returns (0: success)
 *   NVML_DRIVER  the driver's version
 *   NVML_CARDS   cards, each ended by ';':  NAME|MAJOR|MINOR|BYTES|HANDLE|CAPABILITY|MEMORY;
 *                the last three are the codes that the functions of these names return
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUCCESS 0
#define INVALID_ARGUMENT 2
#define MOST 16

struct card {
    char name[64];
    int major, minor;
    unsigned long long bytes;
    int handle, capability, memory;
};

struct memory {
    unsigned long long total, free, used;
};

static struct card cards[MOST];
static unsigned count;

int nvmlInitWithFlags(unsigned flags) {
    const char *init = getenv("NVML_INIT"), *text = getenv("NVML_CARDS");
    (void)flags;
    for (count = 0; text && count < MOST && strchr(text, ';'); text = strchr(text, ';') + 1) {
        struct card *one = &cards[count];
        if (sscanf(text, "%63[^|]|%d|%d|%llu|%d|%d|%d;", one->name, &one->major, &one->minor, &one->bytes, &one->handle,
                   &one->capability, &one->memory) != 7)
            abort();
        count++;
    }
    return init ? atoi(init) : SUCCESS;
}

int nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(int code) {
    static char text[32];
    snprintf(text, sizeof text, "stand-in's error %d", code);
    return text;
}

int nvmlSystemGetDriverVersion(char *version, unsigned length) {
    snprintf(version, length, "%s", getenv("NVML_DRIVER"));
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *found) {
    *found = count;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct card **device) {
    if (index >= count)
        return INVALID_ARGUMENT;
    *device = &cards[index];
    return cards[index].handle;
}

int nvmlDeviceGetName(struct card *device, char *name, unsigned length) {
    snprintf(name, length, "%s", device->name);
    return SUCCESS;
}

int nvmlDeviceGetCudaComputeCapability(struct card *device, int *major, int *minor) {
    *major = device->major;
    *minor = device->minor;
    return device->capability;
}

int nvmlDeviceGetMemoryInfo(struct card *device, struct memory *memory) {
    memory->total = memory->free = device->bytes;
    memory->used = 0;
    return device->memory;
}
