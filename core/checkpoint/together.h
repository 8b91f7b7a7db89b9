// Work that may fail on one rank only: all ranks learn of it, so that none waits for ever in the next collective.
#pragma once

#include <exception>
#include <string>
#include <utility>

#include "dist/communicator.h"
#include "ops/base/error.h"

namespace tsugi {

/// Runs `work` on every rank. When it throws on some rank, all of them throw the same Error. `work` must contain no
/// collective.
template <class F>
void together(Communicator& communicator, F&& work) {
  int code = 0;
  std::string message;
  try {
    work();
  } catch (const Error& error) {
    code = static_cast<int>(error.code());
    message = error.what() + (error.hint().empty() ? "" : " (" + error.hint() + ")");
  } catch (const std::exception& error) {
    code = static_cast<int>(ExitCode::kInternal);
    message = std::string("unexpected: ") + error.what();
  }
  agree_on_errors(communicator, code, message);
}

/// Runs `work` on rank 0 only and returns its string on every rank, or throws its Error on every rank.
template <class F>
std::string on_rank_0(Communicator& communicator, F&& work) {
  std::string result;
  together(communicator, [&] {
    if (communicator.rank() == 0) result = std::forward<F>(work)();
  });
  return communicator.broadcast(result);
}

}  // namespace tsugi
