#include "core/data/prepare/helpers.h"

#include <glog/logging.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "core/data/prepare/wire.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

/// Other ranks hear of rank 0 so often, however long it has nothing for them: they must not take it for lost.
constexpr std::chrono::seconds kSignOfLife{1};

/// Sends `outgoing` and receives as many messages, by rank; nothing goes to oneself. Collective: rank 0 talks to all
/// others, the others to rank 0.
std::vector<std::string> swap_messages(Communicator& communicator, std::vector<std::string> outgoing) {
  const auto ranks = static_cast<size_t>(communicator.size());
  CHECK_EQ(outgoing.size(), ranks);
  std::vector<int> peers;
  for (int rank = 0; rank < communicator.size(); ++rank) {
    if ((rank == 0) != (communicator.rank() == 0)) peers.push_back(rank);
  }
  std::vector<uint64_t> mine(ranks);
  std::vector<uint64_t> theirs(ranks);
  const auto exchange = [&](const auto& to, const auto& from) {
    std::vector<Transfer> sends;
    std::vector<Transfer> receives;
    for (const int peer : peers) {
      sends.push_back(to(peer));
      receives.push_back(from(peer));
    }
    communicator.exchange(std::move(sends), std::move(receives))->wait();
  };
  for (const int peer : peers) mine[static_cast<size_t>(peer)] = outgoing[static_cast<size_t>(peer)].size();
  exchange([&](int peer) { return Transfer{peer, &mine[static_cast<size_t>(peer)], sizeof(uint64_t)}; },
           [&](int peer) { return Transfer{peer, &theirs[static_cast<size_t>(peer)], sizeof(uint64_t)}; });
  std::vector<std::string> incoming(ranks);
  for (size_t rank = 0; rank < ranks; ++rank) incoming[rank].resize(theirs[rank]);
  const auto whole = [](std::vector<std::string>& messages) {
    return [&messages](int peer) {
      std::string& message = messages[static_cast<size_t>(peer)];
      return Transfer{peer, message.data(), message.size()};
    };
  };
  exchange(whole(outgoing), whole(incoming));
  return incoming;
}

/// What rank 0 says to another rank in a round.
struct Orders {
  bool end = false;
  std::optional<std::string> setup = std::nullopt;
  std::vector<std::string> requests = {};
};

Orders orders_of(std::string_view message) {
  WireReader reader(message);
  Orders orders;
  orders.end = reader.get<bool>();
  if (reader.get<bool>()) orders.setup = std::string(reader.text());
  while (!reader.at_end()) orders.requests.emplace_back(reader.text());
  return orders;
}

/// The threads of a rank that helps.
class Helper {
 public:
  struct Batch {
    RequestWork work;
    std::vector<std::string> requests;
    std::vector<std::string> answers;
    size_t begun = 0;
    size_t done = 0;
  };

  explicit Helper(int threads) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { loop(); });
  }
  ~Helper() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
      ready_.notify_all();
    }
    for (std::thread& thread : threads_) thread.join();
  }
  Helper(const Helper&) = delete;
  Helper& operator=(const Helper&) = delete;

  void add(const RequestWork& work, std::vector<std::string> requests) {
    const std::lock_guard lock(mutex_);
    batches_.push_back(std::make_unique<Batch>());
    batches_.back()->work = work;
    batches_.back()->answers.resize(requests.size());
    batches_.back()->requests = std::move(requests);
    ready_.notify_all();
  }
  /// The answers to the batch that was added first, when they are there.
  std::vector<std::string> take() {
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [&] { return batches_.front()->done == batches_.front()->answers.size(); });
    std::vector<std::string> answers = std::move(batches_.front()->answers);
    batches_.pop_front();
    return answers;
  }

 private:
  Batch* next() {
    for (const auto& batch : batches_) {
      if (batch->begun < batch->requests.size()) return batch.get();
    }
    return nullptr;
  }
  void loop() {
    std::unique_lock lock(mutex_);
    for (;;) {
      Batch* batch = nullptr;
      ready_.wait(lock, [&] { return stop_ || (batch = next()) != nullptr; });
      if (stop_) return;
      const size_t index = batch->begun++;
      const std::string request = std::move(batch->requests[index]);
      lock.unlock();
      std::string answer = answer_of(batch->work, request);
      lock.lock();
      batch->answers[index] = std::move(answer);
      ++batch->done;
      finished_.notify_one();
    }
  }
  static std::string answer_of(const RequestWork& work, std::string_view request) {
    WireWriter answer;
    try {
      const std::string bytes = work(request);
      answer.put(static_cast<int32_t>(ExitCode::kDone));
      answer.put_text(bytes);
    } catch (const Error& error) {
      answer.put(static_cast<int32_t>(error.code()));
      answer.put_text(error.what());
      answer.put_text(error.hint());
    }
    return answer.take();
  }

  std::mutex mutex_;
  std::condition_variable ready_;     ///< for the threads
  std::condition_variable finished_;  ///< for take()
  std::deque<std::unique_ptr<Batch>> batches_;
  std::vector<std::thread> threads_;
  bool stop_ = false;
};

}  // namespace

HelperRanks::HelperRanks(Communicator& communicator) : communicator_(communicator) {
  CHECK_EQ(communicator.rank(), 0);
  for (const std::string& threads : communicator.all_gather_strings("0")) threads_of_.push_back(std::stoi(threads));
  for (const int threads : threads_of_) threads_ += threads;
  sent_.resize(2, std::vector<Batch>(threads_of_.size()));
  thread_ = std::thread([this] { run(); });
}

HelperRanks::~HelperRanks() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    wake_.notify_one();
  }
  thread_.join();
}

void HelperRanks::begin(std::string setup) {
  const std::lock_guard lock(mutex_);
  CHECK(waiting_.empty());
  setup_ = std::move(setup);
  wake_.notify_one();
}

std::string HelperRanks::ask(std::string request) {
  Ask mine{std::move(request), std::nullopt};
  {
    std::unique_lock lock(mutex_);
    waiting_.push_back(&mine);
    wake_.notify_one();
    answered_.wait(lock, [&] { return mine.answer || failure_; });
    if (!mine.answer) std::rethrow_exception(failure_);
  }
  WireReader reader(*mine.answer);
  const auto code = static_cast<ExitCode>(reader.get<int32_t>());
  const std::string said(reader.text());
  if (code != ExitCode::kDone) throw Error(code, said, std::string(reader.text()));
  return said;
}

void HelperRanks::run() {
  try {
    while (round()) {
    }
  } catch (...) {
    const std::lock_guard lock(mutex_);
    failure_ = std::current_exception();
    answered_.notify_all();
  }
}

std::vector<HelperRanks::Batch> HelperRanks::choose() {
  const size_t ranks = threads_of_.size();
  std::vector<Batch> batches(ranks);
  size_t full = 0;
  while (!waiting_.empty() && full + 1 < ranks) {
    Batch& batch = batches[next_rank_];
    if (batch.size() < static_cast<size_t>(threads_of_[next_rank_])) {
      full = 0;
      batch.push_back(waiting_.front());
      waiting_.pop_front();
    } else {
      ++full;
    }
    next_rank_ = next_rank_ + 1 < ranks ? next_rank_ + 1 : 1;
  }
  return batches;
}

bool HelperRanks::round() {
  std::vector<Batch> batches;
  std::optional<std::string> setup;
  bool end = false;
  {
    std::unique_lock lock(mutex_);
    const auto nothing_sent = [](const std::vector<Batch>& one) {
      return std::ranges::all_of(one, [](const Batch& batch) { return batch.empty(); });
    };
    const bool idle = std::ranges::all_of(sent_, nothing_sent);
    if (idle) wake_.wait_for(lock, kSignOfLife, [&] { return stop_ || setup_ || !waiting_.empty(); });
    batches = choose();
    setup.swap(setup_);
    end = stop_ && idle && nothing_sent(batches);
  }
  std::vector<std::string> outgoing(threads_of_.size());
  for (size_t rank = 1; rank < outgoing.size(); ++rank) {
    WireWriter message;
    message.put(end);
    message.put(setup.has_value());
    if (setup) message.put_text(*setup);
    for (const Ask* ask : batches[rank]) message.put_text(ask->request);
    outgoing[rank] = message.take();
  }
  // The text lives on in the message alone.
  for (const Batch& batch : batches) {
    for (Ask* ask : batch) std::string().swap(ask->request);
  }
  const std::vector<std::string> incoming = swap_messages(communicator_, std::move(outgoing));
  const std::lock_guard lock(mutex_);
  for (size_t rank = 1; rank < incoming.size(); ++rank) {
    WireReader reader(incoming[rank]);
    for (Ask* ask : sent_.front()[rank]) ask->answer = std::string(reader.text());
    CHECK(reader.at_end());
  }
  answered_.notify_all();
  sent_.pop_front();
  sent_.push_back(std::move(batches));
  return !end;
}

void serve_requests(Communicator& communicator, int threads,
                    const std::function<RequestWork(std::string_view setup)>& make_work) {
  communicator.all_gather_strings(std::to_string(threads));
  Helper helper(threads);
  RequestWork work;
  // As many batches of nothing as rank 0 is ahead of the answers.
  helper.add(work, {});
  helper.add(work, {});
  for (;;) {
    WireWriter answers;
    for (const std::string& answer : helper.take()) answers.put_text(answer);
    std::vector<std::string> outgoing(static_cast<size_t>(communicator.size()));
    outgoing[0] = answers.take();
    Orders orders = orders_of(swap_messages(communicator, std::move(outgoing))[0]);
    if (orders.end) return;
    if (orders.setup) {
      try {
        work = make_work(*orders.setup);
      } catch (const Error& error) {
        work = [error](std::string_view) -> std::string { throw error; };
      }
    }
    helper.add(work, std::move(orders.requests));
  }
}

}  // namespace tsugi
