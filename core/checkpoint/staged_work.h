// Work of all ranks that goes in stages: every rank does its part, then all agree that none has failed. The parts hold
// no collectives, so they may run beside training; the agreements are for moments when all ranks are ready.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <thread>

#include "core/checkpoint/together.h"
#include "dist/communicator.h"

namespace tsugi {

struct Stage {
  /// This rank's part; no collective. May throw Error.
  std::function<void()> work;
  /// Collective, once every rank's part has succeeded; may add stages. May be empty.
  std::function<void(Communicator&)> then = {};
};

class StagedWork {
 public:
  StagedWork() = default;
  StagedWork(const StagedWork&) = delete;
  StagedWork& operator=(const StagedWork&) = delete;
  /// Waits for this rank's present part; later stages are not begun.
  ~StagedWork();

  /// Behind all stages that are there.
  void add(Stage stage) { stages_.push_back(std::move(stage)); }
  /// Before all stages that have not begun.
  void add_next(Stage stage) { stages_.push_front(std::move(stage)); }
  /// Replaces what this rank does after some rank's stage has failed and before that is thrown.
  void on_failure(std::function<void()> clean_up) { clean_up_ = std::move(clean_up); }

  /// All stages on this thread. Collective. When a part throws on some rank, all ranks throw the same Error.
  void run(Communicator& communicator);

  /// Begins the first stage on a thread of its own.
  void start();
  /// Whether start() was called and stages are left.
  bool under_way() const { return under_way_; }
  /// Whether this rank's part of the present stage is done.
  bool ready() const { return done_.load(std::memory_order_acquire); }
  /// Ends the present stage (waiting for it if need be) and begins the next one. Collective; throws as run() does.
  void advance(Communicator& communicator);
  /// advance() to the end.
  void finish(Communicator& communicator);

 private:
  void begin();
  void end_stage(Communicator& communicator, const Outcome& outcome);

  std::deque<Stage> stages_;
  std::function<void()> clean_up_;
  Stage present_;
  Outcome outcome_;
  std::thread thread_;
  std::atomic<bool> done_{false};
  bool under_way_ = false;
};

}  // namespace tsugi
