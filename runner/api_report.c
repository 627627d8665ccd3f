#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runner/api_core.h"

#define MB        (1024 * 1024)
#define TAIL      4096
#define TAIL_ROOM (TAIL + 1024)

__attribute__((format(printf, 2, 3))) static void put(struct json_out *out, const char *format,
                                                      ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    json_put_text(out, text);
}

/* ---- base64 ---------------------------------------------------------------------------- */

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void api_put_base64(struct json_out *out, const char *bytes, size_t length) {
    for (size_t i = 0; i < length; i += 3) {
        unsigned value = (unsigned)(unsigned char)bytes[i] << 16;
        if (i + 1 < length)
            value |= (unsigned)(unsigned char)bytes[i + 1] << 8;
        if (i + 2 < length)
            value |= (unsigned)(unsigned char)bytes[i + 2];
        char four[4] = {digits[value >> 18], digits[value >> 12 & 63],
                        i + 1 < length ? digits[value >> 6 & 63] : '=',
                        i + 2 < length ? digits[value & 63] : '='};
        json_put_raw(out, four, 4);
    }
}

long api_decode_base64(const char *text, char *to) {
    char *start = to;
    size_t length = strlen(text);
    unsigned value = 0, bits = 0;
    while (length && text[length - 1] == '=')
        length--;
    for (size_t i = 0; i < length; i++) {
        const char *digit = text[i] ? strchr(digits, text[i]) : NULL;
        if (!digit)
            return -1;
        value = (value << 6 | (unsigned)(digit - digits)) & 0xffffff;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            *to++ = (char)(value >> bits);
        }
    }
    *to = 0;
    return length % 4 == 1 ? -1 : to - start;
}

/* ---- numbers --------------------------------------------------------------------------- */

/* Milliseconds with two digits, rounded. */
static void put_ms(struct json_out *out, const char *before, uint64_t us, const char *after) {
    uint64_t hundredths = (us + 5) / 10;
    put(out, "%s%llu.%02u%s", before, (unsigned long long)(hundredths / 100),
        (unsigned)(hundredths % 100), after);
}

/* Started milliseconds count whole, and one is the least. */
static unsigned long long billed_ms(const struct call *call) {
    uint64_t billed = (call->duration_us + 999) / 1000;
    return billed ? billed : 1;
}

static unsigned long long whole_mb(uint64_t bytes) {
    return (bytes + MB - 1) / MB;
}

void api_put_numbers(struct json_out *out, const struct call *call, uint64_t memory_limit) {
    put(out, "{\"requestId\":\"%s\",\"outcome\":\"%s\"", call->request_id,
        outcome_name(call->outcome));
    put_ms(out, ",\"report\":{\"durationMs\":", call->duration_us, "");
    put(out, ",\"billedDurationMs\":%llu,\"memorySizeMB\":%llu", billed_ms(call),
        (unsigned long long)(memory_limit / MB));
    if (call->peak_memory)
        put(out, ",\"maxMemoryUsedMB\":%llu", whole_mb(call->peak_memory));
    put_ms(out, ",\"initDurationMs\":", call->init_us, "");
    put_ms(out, ",\"cpuMs\":", call->cpu_us, "");
    put(out, ",\"limits\":\"cgroup\",\"cold\":%s", call->cold ? "true" : "false");
    if (call->log_truncated)
        json_put_text(out, ",\"logTruncated\":true");
    json_put_text(out, "}}");
    json_put_raw(out, "", 1);
}

/* As Lambda words it. */
static void put_report_line(struct json_out *out, const struct call *call, uint64_t memory_limit) {
    put(out, "REPORT RequestId: %s\t", call->request_id);
    put_ms(out, "Duration: ", call->duration_us, " ms\t");
    put(out, "Billed Duration: %llu ms\tMemory Size: %llu MB\t", billed_ms(call),
        (unsigned long long)(memory_limit / MB));
    if (call->peak_memory)
        put(out, "Max Memory Used: %llu MB\t", whole_mb(call->peak_memory));
    if (call->cold)
        put_ms(out, "Init Duration: ", call->init_us, " ms\t");
    if (call->outcome != OUTCOME_SUCCESS)
        put(out, "Status: %s\t",
            call->outcome == OUTCOME_TIMEOUT || call->outcome == OUTCOME_INIT_TIMEOUT ? "timeout"
                                                                                      : "error");
    json_put_text(out, "\n");
}

void api_put_tail(struct json_out *out, const struct call *call, uint64_t memory_limit,
                  const char *version) {
    struct json_out text = {0};
    size_t log = call->log_length < TAIL_ROOM ? call->log_length : TAIL_ROOM;
    put(&text, "START RequestId: %s Version: %s\n", call->request_id, version);
    if (log) {
        json_put_raw(&text, call->log + call->log_length - log, log);
        if (call->log[call->log_length - 1] != '\n')
            json_put_text(&text, "\n");
    }
    put(&text, "END RequestId: %s\n", call->request_id);
    put_report_line(&text, call, memory_limit);
    if (text.failed)
        out->failed = true;
    else if (text.length > TAIL)
        api_put_base64(out, text.data + text.length - TAIL, TAIL);
    else
        api_put_base64(out, text.data, text.length);
    json_put_raw(out, "", 1);
    free(text.data);
}
