// Produce in order, work on many threads, consume in order.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace tsugi {

/// Calls produce() → optional<In> until it returns none, work(In, worker) → Out on `threads` threads, and consume(Out)
/// in the order of production; produce and consume by the caller. At most `limit` pieces are under way. The first
/// exception in the order of the pieces is the one that is thrown, when all before it are consumed.
template <class In, class Out, class Produce, class Work, class Consume>
void run_in_order(int threads, size_t limit, const Produce& produce, const Work& work, const Consume& consume) {
  if (threads <= 1) {
    while (std::optional<In> in = produce()) consume(work(std::move(*in), 0));
    return;
  }
  struct Slot {
    In in;
    std::optional<Out> out;
    std::exception_ptr error;
    bool done = false;
  };
  std::mutex mutex;
  std::condition_variable ready;     // for workers: something to do, or the end
  std::condition_variable finished;  // for the caller: a slot is done
  std::deque<Slot> slots;            // references stay valid at both ends
  std::deque<Slot*> waiting;
  bool stop = false;

  std::vector<std::jthread> workers;
  // Before the workers are joined they must be told, whatever way this function is left.
  struct Stopper {
    std::mutex& mutex;
    std::condition_variable& ready;
    bool& stop;
    ~Stopper() {
      const std::lock_guard lock(mutex);
      stop = true;
      ready.notify_all();
    }
  } stopper{mutex, ready, stop};

  const auto loop = [&](int worker) {
    for (;;) {
      Slot* slot = nullptr;
      {
        std::unique_lock lock(mutex);
        ready.wait(lock, [&] { return stop || !waiting.empty(); });
        if (stop) return;
        slot = waiting.front();
        waiting.pop_front();
      }
      try {
        slot->out.emplace(work(std::move(slot->in), worker));
      } catch (...) {
        slot->error = std::current_exception();
      }
      const std::lock_guard lock(mutex);
      slot->done = true;
      finished.notify_one();
    }
  };
  for (int worker = 0; worker < threads; ++worker) workers.emplace_back(loop, worker);

  bool more = true;
  std::exception_ptr last;  // of produce(), behind all slots
  while (more || !slots.empty()) {
    while (more && slots.size() < limit) {
      std::optional<In> in;
      try {
        in = produce();
      } catch (...) {
        last = std::current_exception();
      }
      more = in.has_value();
      if (!more) break;
      const std::lock_guard lock(mutex);
      slots.push_back({std::move(*in), std::nullopt, nullptr, false});
      waiting.push_back(&slots.back());
      ready.notify_one();
    }
    if (slots.empty()) break;
    {
      std::unique_lock lock(mutex);
      finished.wait(lock, [&] { return slots.front().done; });
    }
    Slot slot = std::move(slots.front());
    {
      const std::lock_guard lock(mutex);
      slots.pop_front();
    }
    if (slot.error) std::rethrow_exception(slot.error);
    consume(std::move(*slot.out));
  }
  if (last) std::rethrow_exception(last);
}

}  // namespace tsugi
