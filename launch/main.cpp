// tsugi: one program, one subcommand per file in launch/commands/.
#include <glog/logging.h>
#include <malloc.h>

#include <cstdio>
#include <iostream>

#include "launch/commands/commands.h"
#include "launch/run_world.h"
#include "launch/version.h"

namespace {

/// What a command printed has arrived. Throws Error(kInputOutput): a full disk, a device that refuses it.
void check_output() {
  std::cout.flush();
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0 && std::cout.good()) return;
  throw tsugi::Error(tsugi::ExitCode::kInputOutput, "cannot write all of standard output", "is the disk full?");
}

}  // namespace

int main(int argc, char** argv) {
  using namespace tsugi;
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    std::cerr << "tsugi: error: this build needs a CPU with AVX2 and FMA\n";
    return static_cast<int>(ExitCode::kUsage);
  }
  // Large blocks stay with the process: returning them to the kernel costs a page fault per page and use.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  FLAGS_logtostderr = true;
  FLAGS_minloglevel = google::GLOG_WARNING;
  google::InitGoogleLogging(argv[0]);

  CommandLine command_line(
      "tsugi", "tsugi pretrains transformers on many ranks and hands the checkpoint to fine-tuning.", kVersion);
  add_commands(command_line.root());
  try {
    const int code = command_line.run({argv + 1, argv + argc});
    check_output();
    return code;
  } catch (const Error& error) {
    print_error(error);
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    std::cerr << "tsugi: internal error: " << error.what() << "\n";
    return static_cast<int>(ExitCode::kInternal);
  }
}
