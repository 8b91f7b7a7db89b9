// Names for stretches of time, as profilers show them.
#pragma once

namespace tsugi {

/// What hears of ranges: a profiler's library, or a test. Null: nobody, and a range costs a comparison.
struct ProfileListener {
  void (*begin)(const char* name) = nullptr;
  void (*end)() = nullptr;
};
inline ProfileListener& profile_listener() {
  static ProfileListener listener;
  return listener;
}

/// From here to the end of the block. Ranges of a thread are nested.
class ProfileRange {
 public:
  explicit ProfileRange(const char* name) : end_(profile_listener().end) {
    if (profile_listener().begin != nullptr) profile_listener().begin(name);
  }
  ~ProfileRange() {
    if (end_ != nullptr) end_();
  }
  ProfileRange(const ProfileRange&) = delete;

 private:
  void (*end_)();
};

}  // namespace tsugi
