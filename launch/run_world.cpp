#include "launch/run_world.h"

#include <iostream>

#include "core/config/config.h"

namespace tsugi {

void print_error(const Error& error, int rank) {
  // One write per line, so that the lines of several ranks do not mix.
  std::string text = "tsugi: error: ";
  if (rank >= 0) text += "rank " + std::to_string(rank) + ": ";
  text += std::string(error.what()) + "\n";
  if (!error.hint().empty()) text += "  hint: " + error.hint() + "\n";
  std::cerr << text << std::flush;
}

int run_in_world(const WorldOptions& options, const std::function<int(World&)>& body) {
  World world(options);
  try {
    return body(world);
  } catch (const Error& error) {
    const bool alone = world.size() == 1;
    const bool shared = error.on_all_ranks();
    if (alone || !shared || world.rank() == 0) print_error(error, alone || shared ? -1 : world.rank());
    if (!alone && !error.on_all_ranks()) world.abort(static_cast<int>(error.code()));
    return static_cast<int>(error.code());
  }
}

void validate_run_of(const std::string& path, RunConfig& config) {
  try {
    validate_run(config);
  } catch (const Error& error) {
    std::string lines = path + ": ";
    for (const char* c = error.what(); *c != '\0'; ++c) lines += *c == '\n' ? "\n" + path + ": " : std::string(1, *c);
    throw Error(error.code(), lines, error.hint());
  }
}

void on_all_ranks(Communicator& communicator, const std::function<void()>& body) {
  int code = 0;
  std::string message;
  std::string hint;
  try {
    body();
  } catch (const Error& error) {
    code = static_cast<int>(error.code());
    message = error.what();
    hint = error.hint();
  }
  if (communicator.size() == 1 && code != 0) throw Error(static_cast<ExitCode>(code), message, hint);
  agree_on_errors(communicator, code, hint.empty() ? message : message + " (" + hint + ")");
}

WorldOptions world_options(const std::string& config, const std::vector<std::string>& overrides) {
  WorldOptions options;
  RunConfig early;
  try {
    load_config(config, overrides, early);
    options.threads = early.dist().threads();
    options.timeout_seconds = early.dist().timeout_seconds();
  } catch (const Error&) {
    return {};  // all ranks say it, once they can
  }
  return options;
}

}  // namespace tsugi
