#include "ops/base/thread_pool.h"

#include <glog/logging.h>
#include <pthread.h>
#include <sched.h>

#include <cstdlib>

#include "ops/base/blocked_signals.h"
#include "ops/base/openmp.h"

namespace tsugi {
namespace {

// Long enough to bridge two operators of a training step, short enough not to steal a core from the
// communication thread of a rank that waits.
constexpr int kSpins = 4000;

void prepare_thread(const std::vector<int>& cpus, int worker) {
  // Library primitives (oneDNN) that run inside a piece must stay on this thread.
  omp_set_num_threads(1);
  if (cpus.empty()) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpus[static_cast<size_t>(worker) % cpus.size()], &set);
  pthread_setaffinity_np(pthread_self(), sizeof(set), &set);  // a refusal costs speed, not results
}

}  // namespace

ThreadPool::ThreadPool(int threads, std::vector<int> cpus)
    : threads_(threads), cpus_(std::move(cpus)), scratch_(static_cast<size_t>(threads)) {
  CHECK_GE(threads, 1);
  prepare_thread(cpus_, 0);
  // A handler would write over what a product of oneDNN keeps below the stack pointer (core/train/stop_signal.cpp).
  const AsynchronousSignalsBlocked blocked;
  for (int worker = 1; worker < threads; ++worker) {
    workers_.emplace_back([this, worker] { work(worker); });
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : workers_) thread.join();
  for (Scratch& scratch : scratch_) std::free(scratch.data);
}

void* ThreadPool::scratch(int worker, size_t bytes) {
  Scratch& scratch = scratch_[static_cast<size_t>(worker)];
  if (scratch.bytes < bytes) {
    std::free(scratch.data);
    const size_t rounded = (bytes + 63) / 64 * 64;
    scratch.data = static_cast<std::byte*>(std::aligned_alloc(64, rounded));
    CHECK(scratch.data != nullptr) << "out of memory for " << rounded << " bytes of scratch";
    scratch.bytes = rounded;
  }
  return scratch.data;
}

void ThreadPool::pull(int worker) {
  for (int64_t i = next_.fetch_add(1, std::memory_order_relaxed); i < count_;
       i = next_.fetch_add(1, std::memory_order_relaxed)) {
    (*task_)(i, worker);
  }
}

void ThreadPool::run(int64_t count, TaskRef task) {
  if (threads_ == 1 || count <= 1) {
    for (int64_t i = 0; i < count; ++i) task(i, 0);
    return;
  }
  {
    std::lock_guard lock(mutex_);
    task_ = &task;
    count_ = count;
    next_.store(0, std::memory_order_relaxed);
    running_.store(threads_ - 1, std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_release);
  }
  wake_.notify_all();
  pull(0);
  for (int spin = 0; spin < kSpins; ++spin) {
    if (running_.load(std::memory_order_acquire) == 0) return;
    __builtin_ia32_pause();
  }
  std::unique_lock lock(mutex_);
  done_.wait(lock, [this] { return running_.load(std::memory_order_acquire) == 0; });
}

void ThreadPool::work(int worker) {
  prepare_thread(cpus_, worker);
  uint64_t seen = 0;
  while (true) {
    for (int spin = 0; spin < kSpins; ++spin) {
      if (generation_.load(std::memory_order_acquire) != seen || stop_.load(std::memory_order_relaxed)) break;
      __builtin_ia32_pause();
    }
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return generation_.load(std::memory_order_relaxed) != seen || stop_; });
      if (generation_.load(std::memory_order_relaxed) == seen) return;
      seen = generation_.load(std::memory_order_relaxed);
    }
    pull(worker);
    if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      std::lock_guard lock(mutex_);
      done_.notify_one();
    }
  }
}

}  // namespace tsugi
