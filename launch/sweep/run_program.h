// Other programs, run for what they print.
#pragma once

#include <string>
#include <vector>

namespace tsugi {

struct ProgramOutput {
  int code = 0;        ///< exit code, or 128 + the signal that ended it
  std::string output;  ///< of standard output; at most 64 MiB
  std::string errors;  ///< of standard error
};

/// Runs `words[0]`, found on the PATH, with nothing to read. Throws Error(kUsage) when there is no such program.
ProgramOutput run_program(const std::vector<std::string>& words);

/// Whether the PATH has it.
bool have_program(const std::string& name);

}  // namespace tsugi
