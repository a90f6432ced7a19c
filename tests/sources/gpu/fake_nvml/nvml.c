/* A stand-in for libnvidia-ml.so.1 without a driver behind it.
 *
 * Signatures, structures, sizes and return codes are those that NVIDIA documents for NVML (NVML API Reference Guide),
 * for the functions that the check calls. What the GPUs answer is told by text commands, one per line, through
 * fake_nvml_control() or a file named by the environment variable FAKE_NVML_SCENARIO; README.md beside this file
 * lists them. A function that was told nothing answers NVML_ERROR_NOT_SUPPORTED.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define API __attribute__((visibility("default")))

typedef unsigned long long u64;

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9, TIMEOUT = 10, GPU_IS_LOST = 15, LIB_RM_VERSION_MISMATCH = 18, MEMORY = 20,
    ARGUMENT_VERSION_MISMATCH = 25
};

#define FUNCTIONS \
    X(nvmlInitWithFlags) X(nvmlShutdown) X(nvmlErrorString) X(nvmlSystemGetDriverVersion) X(nvmlDeviceGetCount_v2) \
    X(nvmlDeviceGetHandleByIndex_v2) X(nvmlDeviceGetUUID) X(nvmlDeviceGetName) X(nvmlDeviceGetPersistenceMode) \
    X(nvmlDeviceGetComputeMode) X(nvmlDeviceGetMigMode) X(nvmlDeviceGetMaxMigDeviceCount) \
    X(nvmlDeviceGetMigDeviceHandleByIndex) X(nvmlDeviceGetGpuInstanceId) X(nvmlDeviceGetMemoryInfo) \
    X(nvmlDeviceGetMemoryInfo_v2) X(nvmlDeviceGetUtilizationRates) X(nvmlDeviceGetTemperature) \
    X(nvmlDeviceGetTemperatureV) X(nvmlDeviceGetTemperatureThreshold) X(nvmlDeviceGetFanSpeed) \
    X(nvmlDeviceGetPowerUsage) X(nvmlDeviceGetEnforcedPowerLimit) X(nvmlDeviceGetPowerManagementLimit) \
    X(nvmlDeviceGetClockInfo) X(nvmlDeviceGetMaxClockInfo) X(nvmlDeviceGetEncoderUtilization) \
    X(nvmlDeviceGetDecoderUtilization) X(nvmlDeviceGetPerformanceState) X(nvmlDeviceGetPcieThroughput) \
    X(nvmlDeviceGetFieldValues) X(nvmlDeviceGetComputeRunningProcesses_v2) \
    X(nvmlDeviceGetComputeRunningProcesses_v3) X(nvmlDeviceGetProcessUtilization) X(nvmlEventSetCreate) \
    X(nvmlDeviceRegisterEvents) X(nvmlEventSetWait_v2) X(nvmlEventSetFree)

#define X(name) F_##name,
enum function { FUNCTIONS F_COUNT };
#undef X
#define X(name) #name,
static const char *const names[] = {FUNCTIONS};
#undef X

#define GPUS 16
#define SLOTS 8
#define ARGUMENTS 8
#define FIELDS 400
#define LISTED 64
#define SETS 8
#define QUEUE 4096
#define HOOKS 16
#define ALL_LINKS 0xFFFFFFFFu
#define NO_INSTANCE 0xFFFFFFFFu
#define NOT_AVAILABLE (~0ULL)
#define XID 0x8ULL

struct cell { int told; u64 values[4]; };
struct failure { int code, times; };
struct field { int told, type, code, times; unsigned scope; u64 bits; };
struct process { unsigned pid; u64 memory; unsigned instance, compute; };
struct sample { unsigned pid; u64 time; unsigned sm, memory, encoder, decoder; };

struct device {
    int present, lost;
    struct device *parent;
    unsigned instance;
    char uuid[96], name[96];
    struct cell cells[F_COUNT][ARGUMENTS];
    struct failure failures[F_COUNT];
    struct field fields[FIELDS];
    struct process processes[LISTED];
    struct sample samples[LISTED];
    unsigned process_count, sample_count;
    unsigned long calls[F_COUNT];
};

struct event { struct device *device; u64 type, data; unsigned instance, compute; };
struct set { int used, handed_out; int watches[GPUS]; struct event queue[QUEUE]; unsigned count; };
struct hook { int used; enum function function; char command[256]; };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct device gpus[GPUS], instances[GPUS][SLOTS];
static struct failure failures[F_COUNT];
static unsigned long calls[F_COUNT];
static struct set sets[SETS];
static struct hook hooks[HOOKS];
static unsigned gpu_count;
static char driver[80];
static int initialised, unloaded, mismatched, stale, registered_twice, leaked;

static int command(char *line);

/* ---- what every call goes through ---- */

static int failing(struct failure *failure)
{
    if (!failure->times)
        return SUCCESS;
    if (failure->times > 0)
        failure->times--;
    return failure->code;
}

static int entered(enum function function)
{
    calls[function]++;
    for (int i = 0; i < HOOKS; i++)
        if (hooks[i].used && hooks[i].function == function) {
            char line[256];
            hooks[i].used = 0;
            strcpy(line, hooks[i].command);
            if (command(line))
                abort();
        }
    if (!initialised)
        return UNINITIALIZED;
    return stale ? stale : failing(&failures[function]);
}

static int known(const struct device *device)
{
    const struct device *first = &instances[0][0];
    int mine = (device >= gpus && device < gpus + GPUS) || (device >= first && device < first + GPUS * SLOTS);
    return mine && device->present;
}

static int lost(const struct device *device)
{
    return device->lost || (device->parent && device->parent->lost);
}

static int on_device(enum function function, struct device *device)
{
    int code = entered(function);
    if (code)
        return code;
    if (!known(device))
        return INVALID_ARGUMENT;
    device->calls[function]++;
    return lost(device) ? GPU_IS_LOST : failing(&device->failures[function]);
}

#define LOCKED(body) \
    do { \
        pthread_mutex_lock(&lock); \
        int code = SUCCESS; \
        body \
        pthread_mutex_unlock(&lock); \
        return code; \
    } while (0)

static int told(enum function function, struct device *device, unsigned argument, struct cell **cell)
{
    int code = on_device(function, device);
    if (code)
        return code;
    if (argument >= ARGUMENTS)
        return INVALID_ARGUMENT;
    *cell = &device->cells[function][argument];
    return (*cell)->told ? SUCCESS : NOT_SUPPORTED;
}

#define CELL(function, argument) struct cell *cell; code = told(F_##function, device, argument, &cell); if (!code)

#define ONE(function) \
    API int function(struct device *device, unsigned *value) \
    { \
        LOCKED(CELL(function, 0) *value = (unsigned)cell->values[0];); \
    }
#define ONE_BY(function) \
    API int function(struct device *device, unsigned argument, unsigned *value) \
    { \
        LOCKED(CELL(function, argument) *value = (unsigned)cell->values[0];); \
    }
#define TWO(function) \
    API int function(struct device *device, unsigned *first, unsigned *second) \
    { \
        LOCKED(CELL(function, 0) { *first = (unsigned)cell->values[0]; *second = (unsigned)cell->values[1]; }); \
    }

/* ---- library and system ---- */

static int control(const char *text)
{
    int number = 0, bad = 0;
    char *copy = strdup(text), *rest = copy, *line;
    while (!bad && (line = strsep(&rest, "\n"))) {
        number++;
        if (*line && *line != '#' && command(line))
            bad = number;
    }
    free(copy);
    return bad;
}

static void read_scenario(void)
{
    static int done;
    const char *path = getenv("FAKE_NVML_SCENARIO");
    if (done || !path || !*path)
        return;
    done = 1;
    FILE *file = fopen(path, "r");
    char text[65536];
    size_t length = file ? fread(text, 1, sizeof text - 1, file) : 0;
    text[length] = 0;
    int bad = file ? control(text) : -1;
    if (bad) {
        fprintf(stderr, "fake NVML: %s, line %d\n", path, bad);
        abort();
    }
    fclose(file);
}

API int nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    LOCKED({
        read_scenario();
        calls[F_nvmlInitWithFlags]++;
        code = unloaded ? DRIVER_NOT_LOADED : mismatched ? LIB_RM_VERSION_MISMATCH
                                                         : failing(&failures[F_nvmlInitWithFlags]);
        if (!code && !initialised++)
            stale = 0;
    });
}

API int nvmlShutdown(void)
{
    LOCKED({
        calls[F_nvmlShutdown]++;
        if (!initialised)
            code = UNINITIALIZED;
        else if (!--initialised)
            for (int i = 0; i < SETS; i++) {
                leaked += sets[i].used && !stale; /* with another driver it can't be given back */
                sets[i].used = 0;
            }
        pthread_cond_broadcast(&changed);
    });
}

API const char *nvmlErrorString(int code)
{
    switch (code) {
    case SUCCESS: return "Success";
    case NOT_SUPPORTED: return "Not Supported";
    case GPU_IS_LOST: return "GPU is lost";
    default: return "an error of the fake NVML";
    }
}

static int give(const char *text, char *buffer, unsigned length)
{
    if (!buffer)
        return INVALID_ARGUMENT;
    if (strlen(text) + 1 > length)
        return INSUFFICIENT_SIZE;
    strcpy(buffer, text);
    return SUCCESS;
}

API int nvmlSystemGetDriverVersion(char *version, unsigned length)
{
    LOCKED(if (!(code = entered(F_nvmlSystemGetDriverVersion))) code = give(driver, version, length););
}

API int nvmlDeviceGetCount_v2(unsigned *count)
{
    LOCKED(if (!(code = entered(F_nvmlDeviceGetCount_v2))) *count = gpu_count;);
}

API int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct device **device)
{
    LOCKED({
        code = entered(F_nvmlDeviceGetHandleByIndex_v2);
        if (!code && index >= gpu_count)
            code = INVALID_ARGUMENT;
        if (!code && gpus[index].lost)
            code = GPU_IS_LOST;
        if (!code)
            code = failing(&gpus[index].failures[F_nvmlDeviceGetHandleByIndex_v2]);
        if (!code)
            *device = &gpus[index];
    });
}

/* ---- devices ---- */

API int nvmlDeviceGetUUID(struct device *device, char *uuid, unsigned length)
{
    LOCKED(if (!(code = on_device(F_nvmlDeviceGetUUID, device))) code = give(device->uuid, uuid, length););
}

API int nvmlDeviceGetName(struct device *device, char *name, unsigned length)
{
    LOCKED(if (!(code = on_device(F_nvmlDeviceGetName, device))) code = give(device->name, name, length););
}

ONE(nvmlDeviceGetPersistenceMode)
ONE(nvmlDeviceGetComputeMode)
TWO(nvmlDeviceGetMigMode)
ONE(nvmlDeviceGetMaxMigDeviceCount)
ONE(nvmlDeviceGetFanSpeed)
ONE(nvmlDeviceGetPowerUsage)
ONE(nvmlDeviceGetEnforcedPowerLimit)
ONE(nvmlDeviceGetPowerManagementLimit)
ONE(nvmlDeviceGetPerformanceState)
ONE_BY(nvmlDeviceGetTemperature)
ONE_BY(nvmlDeviceGetTemperatureThreshold)
ONE_BY(nvmlDeviceGetClockInfo)
ONE_BY(nvmlDeviceGetMaxClockInfo)
ONE_BY(nvmlDeviceGetPcieThroughput)
TWO(nvmlDeviceGetEncoderUtilization)
TWO(nvmlDeviceGetDecoderUtilization)

struct temperature { unsigned version, sensor; int temperature; };
#define TEMPERATURE_V1 (sizeof(struct temperature) | 1 << 24)

API int nvmlDeviceGetTemperatureV(struct device *device, struct temperature *answer)
{
    LOCKED(CELL(nvmlDeviceGetTemperatureV, answer->sensor) {
        if (answer->version != TEMPERATURE_V1)
            code = ARGUMENT_VERSION_MISMATCH;
        else
            answer->temperature = (int)cell->values[0];
    });
}

struct utilization { unsigned gpu, memory; };

API int nvmlDeviceGetUtilizationRates(struct device *device, struct utilization *answer)
{
    LOCKED(CELL(nvmlDeviceGetUtilizationRates, 0) {
        answer->gpu = (unsigned)cell->values[0];
        answer->memory = (unsigned)cell->values[1];
    });
}

struct memory { u64 total, free, used; };

API int nvmlDeviceGetMemoryInfo(struct device *device, struct memory *answer)
{
    LOCKED(CELL(nvmlDeviceGetMemoryInfo, 0) {
        answer->total = cell->values[0];
        answer->free = cell->values[1];
        answer->used = cell->values[2];
    });
}

struct memory_v2 { unsigned version; u64 total, reserved, free, used; };
#define MEMORY_V2 (sizeof(struct memory_v2) | 2 << 24)

API int nvmlDeviceGetMemoryInfo_v2(struct device *device, struct memory_v2 *answer)
{
    LOCKED(CELL(nvmlDeviceGetMemoryInfo_v2, 0) {
        if (answer->version != MEMORY_V2)
            code = ARGUMENT_VERSION_MISMATCH;
        else {
            answer->total = cell->values[0];
            answer->free = cell->values[1];
            answer->used = cell->values[2];
            answer->reserved = cell->values[3];
        }
    });
}

API int nvmlDeviceGetMigDeviceHandleByIndex(struct device *device, unsigned index, struct device **instance)
{
    LOCKED(if (!(code = on_device(F_nvmlDeviceGetMigDeviceHandleByIndex, device))) {
        struct device *found = index < SLOTS && !device->parent ? &instances[device - gpus][index] : NULL;
        if (!found)
            code = INVALID_ARGUMENT;
        else if (!found->present)
            code = NOT_FOUND;
        else
            *instance = found;
    });
}

API int nvmlDeviceGetGpuInstanceId(struct device *device, unsigned *instance)
{
    LOCKED(if (!(code = on_device(F_nvmlDeviceGetGpuInstanceId, device))) {
        if (!device->parent)
            code = NOT_SUPPORTED;
        else
            *instance = device->instance;
    });
}

struct field_value { unsigned field, scope; long long time, latency; int type, code; u64 bits; };

API int nvmlDeviceGetFieldValues(struct device *device, int count, struct field_value *values)
{
    LOCKED({
        code = on_device(F_nvmlDeviceGetFieldValues, device);
        if (!code && (count < 0 || !values))
            code = INVALID_ARGUMENT;
        for (int i = 0; !code && i < count; i++) {
            struct field_value *value = &values[i];
            struct field *field = value->field < FIELDS ? &device->fields[value->field] : NULL;
            struct failure failure = {0};
            value->bits = 0;
            if (!field)
                value->code = INVALID_ARGUMENT;
            else if (!field->told || device->parent)
                value->code = NOT_SUPPORTED;
            else if (field->scope != value->scope)
                value->code = INVALID_ARGUMENT;
            else {
                failure.code = field->code;
                failure.times = field->times;
                value->code = failing(&failure);
                field->times = failure.times;
            }
            if (!value->code) {
                value->type = field->type;
                value->bits = field->bits;
            }
        }
    });
}

/* ---- processes ---- */

static int list_processes(enum function function, struct device *device, unsigned *count, struct process *infos)
{
    LOCKED({
        code = on_device(function, device);
        if (!code && !device->cells[F_nvmlDeviceGetComputeRunningProcesses_v3][0].told)
            code = NOT_SUPPORTED;
        if (!code) {
            unsigned room = *count;
            *count = device->process_count;
            if (room < device->process_count)
                code = INSUFFICIENT_SIZE;
            else if (device->process_count)
                memcpy(infos, device->processes, device->process_count * sizeof *infos);
        }
    });
}

API int nvmlDeviceGetComputeRunningProcesses_v3(struct device *device, unsigned *count, struct process *infos)
{
    return list_processes(F_nvmlDeviceGetComputeRunningProcesses_v3, device, count, infos);
}

API int nvmlDeviceGetComputeRunningProcesses_v2(struct device *device, unsigned *count, struct process *infos)
{
    return list_processes(F_nvmlDeviceGetComputeRunningProcesses_v2, device, count, infos);
}

API int nvmlDeviceGetProcessUtilization(struct device *device, struct sample *samples, unsigned *count, u64 since)
{
    LOCKED({
        code = on_device(F_nvmlDeviceGetProcessUtilization, device);
        if (!code && !device->cells[F_nvmlDeviceGetProcessUtilization][0].told)
            code = NOT_SUPPORTED;
        if (!code && (!samples || *count < LISTED)) {
            *count = LISTED; /* as drivers do: the room of their own buffer, whatever is in it */
            code = INSUFFICIENT_SIZE;
        } else if (!code) {
            unsigned found = 0;
            for (unsigned i = 0; i < device->sample_count; i++)
                if (device->samples[i].time > since)
                    samples[found++] = device->samples[i];
            *count = found;
            code = found ? SUCCESS : NOT_FOUND;
        }
    });
}

/* ---- events ---- */

static int live(const struct set *set)
{
    return set >= sets && set < sets + SETS && set->used;
}

API int nvmlEventSetCreate(struct set **set)
{
    LOCKED(if (!(code = entered(F_nvmlEventSetCreate))) {
        struct set *found = NULL;
        for (int i = 0; i < SETS && !found; i++)
            if (!sets[i].used)
                found = &sets[i];
        if (!found)
            code = MEMORY;
        else {
            memset(found, 0, sizeof *found);
            found->used = 1;
            *set = found;
        }
    });
}

API int nvmlDeviceRegisterEvents(struct device *device, u64 types, struct set *set)
{
    LOCKED(if (!(code = on_device(F_nvmlDeviceRegisterEvents, device))) {
        if (!live(set) || types & ~XID)
            code = INVALID_ARGUMENT;
        else if (device->parent || !device->cells[F_nvmlDeviceRegisterEvents][0].told)
            code = NOT_SUPPORTED;
        else {
            registered_twice += set->watches[device - gpus];
            set->watches[device - gpus] = 1;
        }
    });
}

static int watches_a_lost_gpu(const struct set *set)
{
    for (unsigned i = 0; i < gpu_count; i++)
        if (set->watches[i] && gpus[i].lost)
            return 1;
    return 0;
}

API int nvmlEventSetWait_v2(struct set *set, struct event *answer, unsigned milliseconds)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += milliseconds / 1000;
    end.tv_nsec += milliseconds % 1000 * 1000000L;
    if (end.tv_nsec >= 1000000000L) {
        end.tv_sec++;
        end.tv_nsec -= 1000000000L;
    }
    LOCKED({
        code = entered(F_nvmlEventSetWait_v2);
        if (!code && !live(set))
            code = INVALID_ARGUMENT;
        if (!code)
            set->handed_out = 0;
        while (!code && !set->count) {
            if (watches_a_lost_gpu(set))
                code = GPU_IS_LOST;
            else if (pthread_cond_timedwait(&changed, &lock, &end))
                code = TIMEOUT;
            else if (!initialised || stale)
                code = stale ? stale : UNINITIALIZED;
        }
        if (!code) {
            *answer = set->queue[0];
            memmove(set->queue, set->queue + 1, --set->count * sizeof *set->queue);
            set->handed_out = 1;
        }
    });
}

API int nvmlEventSetFree(struct set *set)
{
    LOCKED(if (!(code = entered(F_nvmlEventSetFree))) {
        if (live(set))
            set->used = 0;
        else
            code = INVALID_ARGUMENT;
    });
}

/* ---- control ---- */

static char *word(char **rest)
{
    char *found;
    while ((found = strsep(rest, " \t")))
        if (*found)
            return found;
    return NULL;
}

static int number(char **rest, u64 *value)
{
    char *text = word(rest), *end;
    if (!text)
        return -1;
    *value = strcmp(text, "-") ? strtoull(text, &end, 0) : NOT_AVAILABLE;
    return strcmp(text, "-") && *end ? -1 : 0;
}

static int function_named(char *name, unsigned *argument)
{
    char *colon = name ? strchr(name, ':') : NULL;
    if (colon)
        *colon = 0;
    if (argument)
        *argument = colon ? (unsigned)strtoul(colon + 1, NULL, 0) : 0;
    for (int i = 0; name && i < F_COUNT; i++)
        if (!strcmp(names[i], name))
            return i;
    return -1;
}

static struct device *device_named(char *name)
{
    char *slash = name ? strchr(name, '/') : NULL;
    unsigned long gpu = name ? strtoul(name, NULL, 10) : GPUS;
    unsigned long slot = slash ? strtoul(slash + 1, NULL, 10) : 0;
    if (gpu >= GPUS || slot >= SLOTS)
        return NULL;
    return slash ? &instances[gpu][slot] : &gpus[gpu];
}

static void start_afresh(void)
{
    memset(gpus, 0, sizeof gpus);
    memset(instances, 0, sizeof instances);
    memset(failures, 0, sizeof failures);
    memset(calls, 0, sizeof calls);
    memset(sets, 0, sizeof sets);
    memset(hooks, 0, sizeof hooks);
    gpu_count = 0;
    initialised = unloaded = mismatched = stale = registered_twice = leaked = 0;
    strcpy(driver, "550.00");
}

static int set_driver(char *version, char **rest)
{
    u64 code = LIB_RM_VERSION_MISMATCH;
    if (!version)
        return -1;
    if (*rest && number(rest, &code))
        return -1;
    unloaded = !strcmp(version, "none");
    mismatched = !strcmp(version, "mismatch");
    if (!unloaded && !mismatched)
        snprintf(driver, sizeof driver, "%s", version);
    if (initialised)
        stale = (int)code;
    return 0;
}

static int set_field(struct device *device, char **rest)
{
    u64 id, type, value, scope = 0;
    char *kind;
    if (number(rest, &id) || id >= FIELDS || !(kind = word(rest)))
        return -1;
    struct field *field = &device->fields[id];
    if (!strcmp(kind, "error")) {
        u64 code, times = ~0ULL;
        if (number(rest, &code) || (*rest && number(rest, &times)))
            return -1;
        field->told = 1;
        field->code = (int)code;
        field->times = times == ~0ULL ? -1 : (int)times;
        return 0;
    }
    type = strtoull(kind, NULL, 10);
    if (type) {
        if (number(rest, &value))
            return -1;
    } else {
        char *text = word(rest);
        double real = text ? strtod(text, NULL) : 0;
        memcpy(&value, &real, sizeof value);
    }
    if (*rest && number(rest, &scope))
        return -1;
    *field = (struct field){.told = 1, .type = (int)type, .scope = (unsigned)scope, .bits = value};
    return 0;
}

static int push_xid(struct device *device, char **rest)
{
    u64 code, instance = NO_INSTANCE;
    if (device->parent || number(rest, &code) || (*rest && number(rest, &instance)))
        return -1;
    for (int i = 0; i < SETS; i++)
        if (sets[i].used && sets[i].watches[device - gpus] && sets[i].count < QUEUE)
            sets[i].queue[sets[i].count++] = (struct event){device, XID, code, (unsigned)instance, NO_INSTANCE};
    return 0;
}

static int on_one_device(const char *verb, struct device *device, char **rest)
{
    unsigned argument;
    u64 value;
    if (!strcmp(verb, "lose") || !strcmp(verb, "find")) {
        device->lost = *verb == 'l';
        /* It was reset in between: what was registered for it is gone. */
        for (int i = 0; i < SETS && *verb == 'f' && !device->parent; i++)
            sets[i].watches[device - gpus] = 0;
    } else if (!strcmp(verb, "uuid") || !strcmp(verb, "name")) {
        if (!*rest)
            return -1;
        snprintf(*verb == 'u' ? device->uuid : device->name, sizeof device->uuid, "%s", *rest);
    } else if (!strcmp(verb, "set") || !strcmp(verb, "unset")) {
        int function = function_named(word(rest), &argument);
        if (function < 0 || argument >= ARGUMENTS)
            return -1;
        struct cell *cell = &device->cells[function][argument];
        cell->told = *verb == 's';
        for (int i = 0; i < 4 && *rest; i++)
            if (number(rest, &cell->values[i]))
                return -1;
    } else if (!strcmp(verb, "field")) {
        return set_field(device, rest);
    } else if (!strcmp(verb, "mig")) {
        if (!device->parent) {
            device->parent = &gpus[0] + (device - &instances[0][0]) / SLOTS;
            device->present = 1;
        }
        if (number(rest, &value))
            return -1;
        device->instance = (unsigned)value;
    } else if (!strcmp(verb, "unmig")) {
        memset(device, 0, sizeof *device);
    } else if (!strcmp(verb, "process")) {
        u64 pid, memory, instance = NO_INSTANCE;
        if (number(rest, &pid) || number(rest, &memory) || (*rest && number(rest, &instance)))
            return -1;
        if (device->process_count == LISTED)
            return -1;
        device->cells[F_nvmlDeviceGetComputeRunningProcesses_v3][0].told = 1;
        device->processes[device->process_count++] =
            (struct process){(unsigned)pid, memory, (unsigned)instance, NO_INSTANCE};
    } else if (!strcmp(verb, "sample")) {
        u64 pid, time, sm;
        if (number(rest, &pid) || number(rest, &time) || number(rest, &sm) || device->sample_count == LISTED)
            return -1;
        device->cells[F_nvmlDeviceGetProcessUtilization][0].told = 1;
        device->samples[device->sample_count++] = (struct sample){(unsigned)pid, time, (unsigned)sm, 0, 0, 0};
    } else if (!strcmp(verb, "idle")) {
        device->process_count = device->sample_count = 0;
        device->cells[F_nvmlDeviceGetComputeRunningProcesses_v3][0].told = 1;
        device->cells[F_nvmlDeviceGetProcessUtilization][0].told = 1;
    } else if (!strcmp(verb, "xid")) {
        return push_xid(device, rest);
    } else {
        return -1;
    }
    return 0;
}

static int fail(char *where, char **rest)
{
    u64 code, times = ~0ULL;
    int function = function_named(word(rest), NULL);
    struct device *device = where && strcmp(where, "-") ? device_named(where) : NULL;
    if (!where || function < 0 || (strcmp(where, "-") && !device))
        return -1;
    if (number(rest, &code) || (*rest && number(rest, &times)))
        return -1;
    struct failure failure = {(int)code, times == ~0ULL ? -1 : (int)times};
    *(device ? &device->failures[function] : &failures[function]) = failure;
    return 0;
}

static int during(char *name, char *what)
{
    int function = function_named(name, NULL);
    if (function < 0 || !what)
        return -1;
    for (int i = 0; i < HOOKS; i++)
        if (!hooks[i].used) {
            hooks[i].used = 1;
            hooks[i].function = (enum function)function;
            snprintf(hooks[i].command, sizeof hooks[i].command, "%s", what);
            return 0;
        }
    return -1;
}

static int command(char *line)
{
    char *rest = line, *verb = word(&rest);
    u64 value;
    int bad = 0;
    if (!verb)
        return 0;
    if (!strcmp(verb, "reset")) {
        start_afresh();
    } else if (!strcmp(verb, "driver")) {
        bad = set_driver(word(&rest), &rest);
    } else if (!strcmp(verb, "gpus")) {
        bad = number(&rest, &value) || value > GPUS;
        gpu_count = bad ? 0 : (unsigned)value;
        for (unsigned i = 0; i < GPUS; i++)
            gpus[i].present = i < gpu_count;
    } else if (!strcmp(verb, "fail")) {
        bad = fail(word(&rest), &rest);
    } else if (!strcmp(verb, "during")) {
        char *function = word(&rest);
        bad = during(function, rest);
    } else {
        struct device *device = device_named(word(&rest));
        bad = device ? on_one_device(verb, device, &rest) : -1;
    }
    pthread_cond_broadcast(&changed);
    return bad;
}

/* Carry out commands, one per line. Returns 0, or the number of the line that is wrong. */
API int fake_nvml_control(const char *text)
{
    LOCKED(code = control(text););
}

/* Calls of a function (NULL: of all) for a device (NULL: for all and for none) since the last reset. */
API unsigned long fake_nvml_calls(const char *device, const char *function)
{
    unsigned long sum = 0;
    char name[16] = "";
    pthread_mutex_lock(&lock);
    if (device)
        snprintf(name, sizeof name, "%s", device);
    for (int i = 0; i < F_COUNT; i++)
        if (!function || !strcmp(function, names[i]))
            sum += device ? device_named(name)->calls[i] : calls[i];
    pthread_mutex_unlock(&lock);
    return sum;
}

/* Whether every event was taken, and its taker came back for more. */
API int fake_nvml_settled(void)
{
    int settled = 1;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < SETS; i++)
        settled &= !sets[i].used || (!sets[i].count && !sets[i].handed_out);
    pthread_mutex_unlock(&lock);
    return settled;
}

/* 0: event sets never given back; 1: times NVML is initialised; 2: GPUs registered with a set that had them. */
API int fake_nvml_held(int what)
{
    int count;
    pthread_mutex_lock(&lock);
    count = leaked;
    for (int i = 0; i < SETS; i++)
        count += sets[i].used;
    count = what == 0 ? count : what == 1 ? initialised : registered_twice;
    pthread_mutex_unlock(&lock);
    return count;
}
