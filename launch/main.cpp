// tsugi: one program, one subcommand per file in launch/commands/.
#include <glog/logging.h>
#include <malloc.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "launch/commands/commands.h"
#include "launch/run_world.h"

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

  CLI::App app("tsugi pretrains transformers on many ranks and hands the checkpoint to fine-tuning.", "tsugi");
  app.require_subcommand(1);
  app.set_version_flag("--version", TSUGI_VERSION);
  app.get_formatter()->column_width(34);
  int exit_code = 0;
  add_commands(app, exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : static_cast<int>(ExitCode::kUsage);
  } catch (const Error& error) {
    print_error(error);
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    std::cerr << "tsugi: internal error: " << error.what() << "\n";
    return static_cast<int>(ExitCode::kInternal);
  }
  return exit_code;
}
