/* A main for a fuzz target that is built without libFuzzer, which brings its own: runs
 * the target on each file given as an argument. Included last. */
#ifndef FNRUN_FUZZ_PLAIN_H
#define FNRUN_FUZZ_PLAIN_H

#include <stdint.h>
#include <stdio.h>

#if defined(__has_feature)
#if __has_feature(coverage_sanitizer)
#define FUZZING
#endif
#endif

#ifndef FUZZING
int main(int argc, char *argv[]) {
    static uint8_t data[2 << 20];
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (!file) {
            perror(argv[i]);
            return 1;
        }
        LLVMFuzzerTestOneInput(data, fread(data, 1, sizeof data, file));
        fclose(file);
    }
    return 0;
}
#endif

#endif
