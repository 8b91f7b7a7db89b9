#include "ops/tensor/profile.h"

#include <glog/logging.h>

#include <chrono>
#include <utility>

#include "ops/tensor/context.h"

namespace tsugi {
namespace {

constexpr size_t kStopwatches = 8192;  ///< at most so many are read at once

thread_local Profile* current_profile = nullptr;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

Profile::Profile(DeviceOperators* device) : device_(device) {
  CHECK(current_profile == nullptr) << "one profile at a time";
  current_profile = this;
}
Profile::~Profile() { current_profile = nullptr; }
Profile* Profile::current() { return current_profile; }

const std::map<std::string, Profile::Row>& Profile::rows() const {
  settle();
  return rows_;
}

void Profile::settle() const {
  if (timed_.empty()) return;
  device_->synchronize();
  for (const Timed& one : timed_) {
    const double seconds = one.watch->seconds();
    one.row->seconds += seconds;
    if (one.caller != nullptr) one.caller->seconds -= seconds;
  }
  timed_.clear();
}

bool ProfiledOperator::is_meta(const Context& context) { return context.meta(); }

void ProfiledOperator::begin(double flops, std::initializer_list<const Tensor*> moved) {
  Profile::Row& row = profile_->rows_[name_];
  ++row.calls;
  row.flops += flops;
  for (const Tensor* tensor : moved) {
    if (tensor->defined()) row.bytes += static_cast<double>(tensor->bytes());
  }
  if (profile_->device_ != nullptr) {
    timed_ = {profile_->device_->start_stopwatch(), &row, profile_->row_};
    profile_->row_ = &row;
    return;
  }
  outer_inner_seconds_ = profile_->inner_seconds_;
  profile_->inner_seconds_ = 0.0;
  start_ = now();
}

void ProfiledOperator::end() {
  if (timed_.watch != nullptr) {
    timed_.watch->stop();
    profile_->row_ = timed_.caller;
    profile_->timed_.push_back(std::move(timed_));
    if (profile_->row_ == nullptr && profile_->timed_.size() >= kStopwatches) profile_->settle();
    return;
  }
  const double seconds = now() - start_;
  profile_->rows_[name_].seconds += seconds - profile_->inner_seconds_;
  profile_->inner_seconds_ = outer_inner_seconds_ + seconds;
}

}  // namespace tsugi
