// A fixed team of threads that runs loops whose pieces do not depend on the size of the team.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace tsugi {

/// A reference to a callable that outlives the call: no allocation, no copy.
class TaskRef {
 public:
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, TaskRef>)
  explicit TaskRef(F& f)
      : object_(const_cast<void*>(static_cast<const void*>(&f))),
        call_([](void* object, int64_t index, int worker) { (*static_cast<F*>(object))(index, worker); }) {}
  void operator()(int64_t index, int worker) const { call_(object_, index, worker); }

 private:
  void* object_;
  void (*call_)(void*, int64_t, int);
};

/// `threads` workers, the caller being worker 0. With one thread nothing is started and nothing is synchronised.
/// Results of operators must depend on the pieces alone, never on which worker ran one: a piece may use
/// scratch(worker), whose content it must not read before writing.
/// One caller at a time; pieces must not call for_each of the same pool.
class ThreadPool {
 public:
  /// `cpus`, if not empty, pins worker i to cpus[i % cpus.size()], the caller included.
  explicit ThreadPool(int threads, std::vector<int> cpus = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  /// Calls task(index, worker) once for every index in [0, count); returns when all are done. With one thread too the
  /// loop lies elsewhere: a task is compiled once, as a function of its own. Inlined into a loop of its caller it lost
  /// its vectors (a GELU derivative became 18 times slower), and two copies of it could round differently.
  template <class F>
  void for_each(int64_t count, F&& task) {
    run(count, TaskRef(task));
  }

  /// At least `bytes` of 64-byte aligned memory that belongs to `worker` until its piece ends. Grows, never shrinks.
  void* scratch(int worker, size_t bytes);

 private:
  struct Scratch {
    std::byte* data = nullptr;
    size_t bytes = 0;
  };
  void run(int64_t count, TaskRef task);
  void work(int worker);
  void pull(int worker);

  int threads_;
  std::vector<int> cpus_;
  std::vector<Scratch> scratch_;
  std::vector<std::thread> workers_;

  const TaskRef* task_ = nullptr;
  int64_t count_ = 0;
  std::atomic<int64_t> next_{0};
  std::atomic<int> running_{0};
  std::atomic<uint64_t> generation_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable done_;
};

}  // namespace tsugi
