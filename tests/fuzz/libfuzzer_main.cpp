// Runs one target under libFuzzer: tests_fuzz TARGET [libFuzzer's arguments].
#include "tests/fuzz/fuzzing.h"

namespace {
const tsugi::fuzzing::Target* chosen = nullptr;
}  // namespace

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  CHECK_GE(*argc, 2) << "usage: " << (*argv)[0] << " TARGET [arguments of libFuzzer]";
  chosen = &tsugi::fuzzing::find_target((*argv)[1]);
  (*argv)[1] = (*argv)[0];
  ++*argv;
  --*argc;
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  chosen->run({data, size});
  return 0;
}
