// Work that may fail on one rank only: all ranks learn of it, so that none waits for ever in the next collective.
#pragma once

#include <exception>
#include <string>
#include <utility>

#include "dist/communicator.h"
#include "ops/base/error.h"

namespace tsugi {

/// What became of a rank's part of some work.
struct Outcome {
  int code = 0;  ///< ExitCode; 0: done
  std::string message;
};

/// Runs `work` and catches what it throws.
template <class F>
Outcome outcome_of(F&& work) {
  try {
    work();
  } catch (const Error& error) {
    return {static_cast<int>(error.code()), error.what() + (error.hint().empty() ? "" : " (" + error.hint() + ")")};
  } catch (const std::exception& error) {
    return {static_cast<int>(ExitCode::kInternal), std::string("unexpected: ") + error.what()};
  }
  return {};
}

/// Runs `work` on every rank. When it throws on some rank, all of them throw the same Error. `work` must contain no
/// collective.
template <class F>
void together(Communicator& communicator, F&& work) {
  const Outcome outcome = outcome_of(std::forward<F>(work));
  agree_on_errors(communicator, outcome.code, outcome.message);
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
