// What a user can cause is an Error; what only a bug can cause is a glog CHECK.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace tsugi {

/// Exit codes of the program. Scripts depend on them: never renumber.
enum class ExitCode : int {
  kDone = 0,
  kUsage = 2,         ///< command line or config
  kData = 3,          ///< a data file, tokenizer or checkpoint is wrong
  kDiverged = 4,      ///< the loss or the gradients are not finite any more
  kInputOutput = 5,   ///< disk full, permission, missing file
  kPeerLost = 6,      ///< a peer, the communicator or a device is lost
  kInternal = 70,     ///< a broken invariant
  kInterrupted = 75,  ///< asked to stop; a checkpoint was written; run again to go on
};

/// An error that the user can cause, with what to do about it.
class Error : public std::runtime_error {
 public:
  /// `message` names file, field and reason; `hint` (may be empty) says what to try.
  Error(ExitCode code, const std::string& message, std::string hint = {})
      : std::runtime_error(message), code_(code), hint_(std::move(hint)) {}

  ExitCode code() const { return code_; }
  const std::string& hint() const { return hint_; }

  /// True when every rank throws this very error at the same place: then all may leave in order, without an abort.
  bool on_all_ranks() const { return on_all_ranks_; }
  Error&& mark_on_all_ranks() && {
    on_all_ranks_ = true;
    return std::move(*this);
  }

 private:
  ExitCode code_;
  std::string hint_;
  bool on_all_ranks_ = false;
};

}  // namespace tsugi
