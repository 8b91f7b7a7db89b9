// Where the time of operators goes.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ops/tensor/tensor.h"

namespace tsugi {

class Context;
class DeviceOperators;

/// Runs from where it was made in the work of a device until stop().
class Stopwatch {
 public:
  virtual ~Stopwatch() = default;
  virtual void stop() = 0;
  /// After the device was waited for.
  virtual double seconds() const = 0;
};

/// Sums over the operators that the thread which made it calls while it lives. One at a time per thread. Without one an
/// operator pays for reading a thread-local pointer.
class Profile {
 public:
  struct Row {
    int64_t calls = 0;
    double seconds = 0.0;  ///< without the operators that it calls itself
    double flops = 0.0;
    double bytes = 0.0;  ///< operands and results, each once: what must move when nothing is in a cache
  };

  /// Of operators on `device`, by its own clock; null: on the CPU.
  explicit Profile(DeviceOperators* device = nullptr);
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  /// Waits for the device.
  const std::map<std::string, Row>& rows() const;

  /// Of this thread; null: nobody asks.
  static Profile* current();

 private:
  friend class ProfiledOperator;

  /// An operator that a device has been asked for.
  struct Timed {
    std::unique_ptr<Stopwatch> watch;
    Row* row;
    Row* caller;  ///< may be null
  };
  /// Reads the stopwatches.
  void settle() const;

  DeviceOperators* device_;
  mutable std::map<std::string, Row> rows_;
  mutable std::vector<Timed> timed_;
  Row* row_ = nullptr;          ///< of the operator under way on a device
  double inner_seconds_ = 0.0;  ///< of the operators that the one under way has called
};

/// An operator at work, from its construction to its end. `name` outlives it.
class ProfiledOperator {
 public:
  ProfiledOperator(const char* name, double flops, std::initializer_list<const Tensor*> moved);
  /// On meta contexts nothing.
  ProfiledOperator(const Context& context, const char* name, double flops, std::initializer_list<const Tensor*> moved);
  ~ProfiledOperator() {
    if (profile_ != nullptr) end();
  }
  ProfiledOperator(const ProfiledOperator&) = delete;
  ProfiledOperator& operator=(const ProfiledOperator&) = delete;

 private:
  static bool is_meta(const Context& context);
  void begin(double flops, std::initializer_list<const Tensor*> moved);
  void end();

  Profile* profile_;
  const char* name_;
  double start_ = 0.0;
  double outer_inner_seconds_ = 0.0;  ///< what the operator that called this one had
  Profile::Timed timed_{};            ///< on a device
};

inline ProfiledOperator::ProfiledOperator(const char* name, double flops, std::initializer_list<const Tensor*> moved)
    : profile_(Profile::current()), name_(name) {
  if (profile_ != nullptr) begin(flops, moved);
}

inline ProfiledOperator::ProfiledOperator(const Context& context, const char* name, double flops,
                                          std::initializer_list<const Tensor*> moved)
    : profile_(Profile::current()), name_(name) {
  if (profile_ == nullptr) return;
  if (is_meta(context)) {
    profile_ = nullptr;
  } else {
    begin(flops, moved);
  }
}

}  // namespace tsugi
