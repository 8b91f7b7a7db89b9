#include "ops/tensor/profile.h"

#include <glog/logging.h>

#include <chrono>

namespace tsugi {
namespace {

thread_local Profile* current_profile = nullptr;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

Profile::Profile() {
  CHECK(current_profile == nullptr) << "one profile at a time";
  current_profile = this;
}
Profile::~Profile() { current_profile = nullptr; }
Profile* Profile::current() { return current_profile; }

void ProfiledOperator::begin(double flops, std::initializer_list<const Tensor*> moved) {
  Profile::Row& row = profile_->rows_[name_];
  ++row.calls;
  row.flops += flops;
  for (const Tensor* tensor : moved) {
    if (tensor->defined()) row.bytes += static_cast<double>(tensor->bytes());
  }
  outer_inner_seconds_ = profile_->inner_seconds_;
  profile_->inner_seconds_ = 0.0;
  start_ = now();
}

void ProfiledOperator::end() {
  const double seconds = now() - start_;
  profile_->rows_[name_].seconds += seconds - profile_->inner_seconds_;
  profile_->inner_seconds_ = outer_inner_seconds_ + seconds;
}

}  // namespace tsugi
