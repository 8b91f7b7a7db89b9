// What the emulator throws when a kernel or a sequence of launches is wrong.
#pragma once

#include <stdexcept>

namespace tsugi::emulated {

/// The message names the block, the threads and the memory or barrier that it is about.
class Fault : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace tsugi::emulated
