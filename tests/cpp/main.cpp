// Exercises every entry point of the core with every instruction set, or with those named by arguments; exit status 1
// where something does not hold.
#include <cstdio>

#include "check.h"
#include "kernels.h"
#include "memory.h"

namespace autometa_test {

namespace {

int failed = 0;

}  // namespace

void expect(bool holds, const std::string& what) {
    if (holds) return;
    ++failed;
    std::printf("does not hold with %s: %s\n", autometa::kernels().name, what.c_str());
}

int failures() { return failed; }

}  // namespace autometa_test

int main(int count, char** arguments) {
    using namespace autometa_test;
    test_threads();
    test_memory();
    test_episodes();
    test_cuda_arena();
    test_cuda_episodes();
    std::vector<std::string> names(arguments + 1, arguments + count);
    for (int i = 0; autometa::kernels_name(i) && count == 1; ++i) names.push_back(autometa::kernels_name(i));
    for (const std::string& name : names) {
        expect(autometa::use_kernels(name.c_str()) && autometa::kernels().name == name, "use_kernels");
        test_arena();
        test_activations();
        test_head();
        test_mixed_op();
        test_preprocess();
        test_conv_block();
        test_conv_stack();
        test_cell_stack();
        std::printf("%s: done\n", name.c_str());
    }
    expect(!autometa::use_kernels("abacus"), "an unknown instruction set is refused");
    expect(autometa::memory_report(false).in_use == 0, "no block outlives its op");
    autometa::release_memory();
    expect(autometa::memory_report(false).cached == 0, "release_memory leaves nothing");
    std::printf("%d failures\n", failures());
    return failures() == 0 ? 0 : 1;
}
