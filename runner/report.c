#include "runner/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "isolate/idmap.h"
#include "runner/outcome.h"

#define MB (1024 * 1024)

__attribute__((format(printf, 2, 3))) static void put(struct json_out *out, const char *format,
                                                      ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    json_put_text(out, text);
}

/* Milliseconds with two digits. By hand: printing a double takes two pages of stack. */
static void put_ms(struct json_out *out, const char *before, uint64_t us, const char *after) {
    uint64_t hundredths = (us + 5) / 10;
    put(out, "%s%llu.%02u%s", before, (unsigned long long)(hundredths / 100),
        (unsigned)(hundredths % 100), after);
}

/* Started milliseconds count whole, and one is the least. */
static uint64_t billed_ms(const struct invocation *invocation) {
    uint64_t billed = (invocation->duration_us + 999) / 1000;
    return billed ? billed : 1;
}

static uint64_t whole_mb(uint64_t bytes) {
    return (bytes + MB - 1) / MB;
}

static const char *status(const struct invocation *invocation) {
    switch (invocation->outcome) {
    case OUTCOME_SUCCESS:
        return NULL;
    case OUTCOME_TIMEOUT:
    case OUTCOME_INIT_TIMEOUT:
        return "timeout";
    default:
        return "error";
    }
}

void report_line(const struct invocation *invocation, struct json_out *out) {
    put(out, "REPORT RequestId: %s\t", invocation->request_id);
    put_ms(out, "Duration: ", invocation->duration_us, " ms\t");
    put(out, "Billed Duration: %llu ms\tMemory Size: %llu MB\t",
        (unsigned long long)billed_ms(invocation),
        (unsigned long long)(invocation->function->limits.memory / MB));
    if (invocation->usage.peak_memory)
        put(out, "Max Memory Used: %llu MB\t",
            (unsigned long long)whole_mb(invocation->usage.peak_memory));
    put_ms(out, "Init Duration: ", invocation->init_us, " ms\t");
    put_ms(out, "CPU Time: ", invocation->usage.cpu_us, " ms\t");
    if (status(invocation))
        put(out, "Status: %s\t", status(invocation));
    if (invocation->spec.without_cgroups)
        put(out,
            "Limits: rlimit (no control groups: private memory of each process, no cpu limit)\t");
    if (invocation->ids == IDMAP_SINGLE)
        put(out, "Ids: the user's own (single-id form)\t");
    json_put_text(out, "\n");
}

static void put_base64(struct json_out *out, const char *bytes, size_t length) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    json_put_text(out, "\"");
    for (size_t i = 0; i < length; i += 3) {
        size_t have = length - i < 3 ? length - i : 3;
        unsigned value = (unsigned)(unsigned char)bytes[i] << 16;
        if (have > 1)
            value |= (unsigned)(unsigned char)bytes[i + 1] << 8;
        if (have > 2)
            value |= (unsigned)(unsigned char)bytes[i + 2];
        char four[4] = {digits[value >> 18], digits[value >> 12 & 63],
                        have > 1 ? digits[value >> 6 & 63] : '=',
                        have > 2 ? digits[value & 63] : '='};
        json_put_raw(out, four, 4);
    }
    json_put_text(out, "\"");
}

static void put_result(const struct invocation *invocation, struct json_out *out) {
    const char *result = invocation->result;
    size_t length = invocation->result_length;
    bool raw = invocation->outcome == OUTCOME_SUCCESS && invocation->function->output == OUTPUT_RAW;
    if (raw && !json_is_utf8(result, length, NULL)) {
        json_put_text(out, ",\"resultBase64\":");
        put_base64(out, result, length);
        return;
    }
    json_put_text(out, ",\"result\":");
    if (raw)
        json_put_string(out, result ? result : "", length);
    else if (length)
        json_put_raw(out, result, length);
    else
        json_put_text(out, "null");
}

void report_json(const struct invocation *invocation, struct json_out *out) {
    put(out, "{\"requestId\":\"%s\",\"outcome\":\"%s\"", invocation->request_id,
        outcome_name(invocation->outcome));
    put_result(invocation, out);
    json_put_text(out, ",\"log\":");
    json_put_string(out, invocation->log ? invocation->log : "", invocation->log_length);
    put_ms(out, ",\"report\":{\"durationMs\":", invocation->duration_us, "");
    put(out, ",\"billedDurationMs\":%llu,\"memorySizeMB\":%llu",
        (unsigned long long)billed_ms(invocation),
        (unsigned long long)(invocation->function->limits.memory / MB));
    if (invocation->usage.peak_memory)
        put(out, ",\"maxMemoryUsedMB\":%llu",
            (unsigned long long)whole_mb(invocation->usage.peak_memory));
    put_ms(out, ",\"initDurationMs\":", invocation->init_us, "");
    put_ms(out, ",\"cpuMs\":", invocation->usage.cpu_us, "");
    put(out, ",\"limits\":\"%s\",\"ids\":\"%s\"",
        invocation->spec.without_cgroups ? "rlimit" : "cgroup",
        invocation->ids == IDMAP_SINGLE        ? "single"
        : invocation->ids == IDMAP_SUBORDINATE ? "subordinate"
                                               : "range");
    if (invocation->log_truncated)
        json_put_text(out, ",\"logTruncated\":true");
    json_put_text(out, "}}\n");
}
