#include "core/checkpoint/staged_work.h"

#include <glog/logging.h>

namespace tsugi {

StagedWork::~StagedWork() {
  if (thread_.joinable()) thread_.join();
}

void StagedWork::end_stage(Communicator& communicator, const Outcome& outcome) {
  try {
    agree_on_errors(communicator, outcome.code, outcome.message);
    if (present_.then) present_.then(communicator);
  } catch (const Error&) {
    stages_.clear();
    under_way_ = false;
    if (clean_up_) clean_up_();
    throw;
  }
}

void StagedWork::run(Communicator& communicator) {
  while (!stages_.empty()) {
    present_ = std::move(stages_.front());
    stages_.pop_front();
    end_stage(communicator, outcome_of(present_.work));
  }
}

void StagedWork::begin() {
  under_way_ = !stages_.empty();
  if (!under_way_) return;
  present_ = std::move(stages_.front());
  stages_.pop_front();
  done_.store(false, std::memory_order_relaxed);
  thread_ = std::thread([this] {
    outcome_ = outcome_of(present_.work);
    done_.store(true, std::memory_order_release);
  });
}

void StagedWork::start() {
  CHECK(!under_way_) << "stages are under way already";
  begin();
}

void StagedWork::advance(Communicator& communicator) {
  CHECK(under_way_) << "no stage is under way";
  thread_.join();
  end_stage(communicator, outcome_);
  begin();
}

void StagedWork::finish(Communicator& communicator) {
  while (under_way_) advance(communicator);
}

}  // namespace tsugi
