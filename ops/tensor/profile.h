// Where the time of operators goes.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>

#include "ops/tensor/tensor.h"

namespace tsugi {

/// Sums over the operators that the thread which made it calls on the CPU, while it lives. One at a time per thread.
/// Without one an operator pays for reading a thread-local pointer.
class Profile {
 public:
  struct Row {
    int64_t calls = 0;
    double seconds = 0.0;  ///< without the operators that it calls itself
    double flops = 0.0;
    double bytes = 0.0;  ///< operands and results, each once: what must move when nothing is in a cache
  };

  Profile();
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  const std::map<std::string, Row>& rows() const { return rows_; }
  void clear() { rows_.clear(); }

  /// Of this thread; null: nobody asks.
  static Profile* current();

 private:
  friend class ProfiledOperator;

  std::map<std::string, Row> rows_;
  double inner_seconds_ = 0.0;  ///< of the operators that the one under way has called
};

/// An operator at work, from its construction to its end. `name` outlives it.
class ProfiledOperator {
 public:
  ProfiledOperator(const char* name, double flops, std::initializer_list<const Tensor*> moved);
  ~ProfiledOperator() {
    if (profile_ != nullptr) end();
  }
  ProfiledOperator(const ProfiledOperator&) = delete;
  ProfiledOperator& operator=(const ProfiledOperator&) = delete;

 private:
  void begin(double flops, std::initializer_list<const Tensor*> moved);
  void end();

  Profile* profile_;
  const char* name_;
  double start_ = 0.0;
  double outer_inner_seconds_ = 0.0;  ///< what the operator that called this one had
};

inline ProfiledOperator::ProfiledOperator(const char* name, double flops, std::initializer_list<const Tensor*> moved)
    : profile_(Profile::current()), name_(name) {
  if (profile_ != nullptr) begin(flops, moved);
}

}  // namespace tsugi
