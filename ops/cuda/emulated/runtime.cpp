// Streams as queues that run when somebody waits, in a random order that respects events and nothing else.
#include "ops/cuda/runtime.h"

#include <glog/logging.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "ops/cuda/device_error.h"
#include "ops/cuda/emulated/global_memory.h"
#include "ops/cuda/emulated/machine.h"
#include "ops/cuda/emulated/use_of_global_memory.h"
#include "ops/cuda/shared_bytes.h"
#include "ops/cuda/signal.h"

namespace tsugi::cuda {

namespace {

/// What an event stood for when it was recorded.
struct Ticket {
  bool done = false;
  GraphState* graph = nullptr;  ///< recorded during the capture of this graph …
  int node = -1;                ///< … after this node
};

struct Work {
  std::function<void()> run;
  std::shared_ptr<Ticket> wait_for;  ///< may not run before this is done …
  std::function<bool()> poll = {};   ///< … nor before this says so
};

}  // namespace

struct EventState {
  std::shared_ptr<Ticket> ticket;
};

struct StreamState {
  std::deque<Work> queue;
  GraphState* capture = nullptr;
  int last_node = -1;       ///< of the capture; -1: none yet
  std::vector<int> joined;  ///< nodes of other streams that the next node comes after
};

struct GraphState {
  struct Node {
    std::function<void()> run;
    std::vector<int> after;
  };
  std::vector<Node> nodes;
  std::vector<StreamState*> streams;

  int add(StreamState& stream, std::function<void()> run) {
    Node node{std::move(run), std::move(stream.joined)};
    stream.joined.clear();
    if (stream.last_node >= 0) node.after.push_back(stream.last_node);
    nodes.push_back(std::move(node));
    return stream.last_node = static_cast<int>(nodes.size()) - 1;
  }

  /// Nodes run one at a time in a random order in which each comes after those it depends on.
  void run() const {
    std::vector<bool> done(nodes.size(), false);
    std::vector<size_t> ready;
    for (size_t ran = 0; ran < nodes.size(); ++ran) {
      ready.clear();
      for (size_t i = 0; i < nodes.size(); ++i) {
        const auto finished = [&](int before) { return done[static_cast<size_t>(before)]; };
        if (!done[i] && std::all_of(nodes[i].after.begin(), nodes[i].after.end(), finished)) ready.push_back(i);
      }
      const size_t next = ready[emulated::order_number() % ready.size()];
      nodes[next].run();
      done[next] = true;
    }
  }
};

namespace {

/// All streams. Work is only executed by pump().
std::vector<StreamState*>& streams() {
  static std::vector<StreamState*> instance;
  return instance;
}

bool can_run(const StreamState& stream) {
  if (stream.queue.empty()) return false;
  const Work& work = stream.queue.front();
  if (work.poll && !work.poll()) return false;
  return work.wait_for == nullptr || work.wait_for->done;
}

/// Executes work until `done`. A stream is left with probability 1/4 after each piece, so that often one stream runs
/// far ahead of, or far behind, the others.
template <class F>
void pump(F&& done) {
  const emulated::UseOfGlobalMemory use;
  StreamState* current = nullptr;
  std::vector<StreamState*> ready;
  while (!done()) {
    if (current == nullptr || !can_run(*current) || emulated::order_number() % 4 == 0) {
      ready.clear();
      for (StreamState* stream : streams()) {
        if (can_run(*stream)) ready.push_back(stream);
      }
      if (ready.empty()) {
        const auto waits_outside = [](auto* s) { return !s->queue.empty() && s->queue.front().poll; };
        if (std::none_of(streams().begin(), streams().end(), waits_outside)) {
          throw emulated::Fault("streams wait for each other");
        }
        std::this_thread::sleep_for(std::chrono::microseconds(50));
        continue;
      }
      current = ready[emulated::order_number() % ready.size()];
    }
    const Work work = std::move(current->queue.front());
    current->queue.pop_front();
    try {
      if (work.run) work.run();
    } catch (...) {
      for (StreamState* stream : streams()) stream->queue.clear();  // as after a sticky error: nothing runs any more
      throw;
    }
  }
}

void pump_all() {
  pump([] { return std::all_of(streams().begin(), streams().end(), [](auto* s) { return s->queue.empty(); }); });
}

}  // namespace

int device_count(std::string&) { return 1; }
void require_usable(int) {}
void use_device(int) {}
std::string describe_device() { return "emulated CUDA"; }
int64_t busy_extent() { return 8; }
int multiprocessors() { return 2; }
bool has_wgmma() { return true; }
size_t cache_bytes() { return 4096; }

HostBuffer::HostBuffer(size_t bytes) : data_(std::aligned_alloc(64, (bytes + 64) / 64 * 64)), bytes_(bytes) {}
HostBuffer::~HostBuffer() { std::free(data_); }
HostBuffer::HostBuffer(HostBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
HostBuffer& HostBuffer::operator=(HostBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Buffer::Buffer(size_t bytes) : data_(emulated::allocate_global(bytes)), bytes_(bytes) {}

Buffer::~Buffer() {
  if (data_ == nullptr) return;
  try {
    pump_all();
    emulated::free_global(data_);
  } catch (const emulated::Fault& fault) {
    // A destructor cannot throw, and a fault that nobody sees would be worse than the end.
    LOG(FATAL) << fault.what();
  }
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Event::Event() : state_(std::make_unique<EventState>()) {}
Event::~Event() = default;

struct SignalState {
  std::shared_ptr<Ticket> ticket;
};

Signal::Signal() : state_(std::make_unique<SignalState>()) {}
Signal::~Signal() = default;
void Signal::record(Stream& stream) {
  auto ticket = std::make_shared<Ticket>();
  state_->ticket = ticket;
  enqueue(stream, [ticket] { ticket->done = true; });
}
bool Signal::done() const {
  const auto& ticket = state_->ticket;
  pump([&] {
    return ticket == nullptr || ticket->done ||
           std::none_of(streams().begin(), streams().end(), [](auto* s) { return can_run(*s); });
  });
  return ticket == nullptr || ticket->done;
}

void Signal::wait() const {
  ++emulated::host_waits;
  pump([ticket = state_->ticket] { return ticket == nullptr || ticket->done; });
}

void* handle_of(Stream& stream) { return &stream; }

void enqueue_when(Stream& stream, std::function<bool()> poll) {
  if (stream.state().capture != nullptr) throw emulated::Fault("capture: work that waits for what lies outside");
  stream.state().queue.push_back({nullptr, nullptr, std::move(poll)});
}

Stream::Stream() : state_(std::make_unique<StreamState>()) { streams().push_back(state_.get()); }
Stream::~Stream() { std::erase(streams(), state_.get()); }

void enqueue(Stream& stream, std::function<void()> work) {
  StreamState& state = stream.state();
  if (state.capture != nullptr) {
    state.capture->add(state, std::move(work));
  } else {
    state.queue.push_back({std::move(work), nullptr});
  }
}

void run_emulated(const LaunchSize& size, const std::function<void()>& body) { emulated::run_grid(size, body); }

void check_shared_bytes_of(const char* type, unsigned bytes) {
  check_shared_bytes(type, bytes, emulated::options().shared_bytes);
}

void Stream::copy(void* to, const void* from, size_t bytes) {
  enqueue(*this, [=] {
    if (bytes > 0) std::memcpy(to, from, bytes);
  });
}

void Stream::fill(void* to, unsigned char value, size_t bytes) {
  enqueue(*this, [=] {
    if (bytes > 0) std::memset(to, value, bytes);
  });
}

void Stream::record(Event& event) {
  auto ticket = std::make_shared<Ticket>();
  event.state().ticket = ticket;
  if (state_->capture != nullptr) {
    ticket->graph = state_->capture;
    // What the stream waits for but has no node of its own yet becomes part of the event through an empty node.
    ticket->node = state_->joined.empty() ? state_->last_node : state_->capture->add(*state_, [] {});
  } else {
    state_->queue.push_back({[ticket] { ticket->done = true; }, nullptr});
  }
}

void Stream::wait(const Event& event) {
  const std::shared_ptr<Ticket>& ticket = event.state().ticket;
  if (ticket == nullptr) return;
  if (ticket->graph == nullptr) {
    if (state_->capture != nullptr) throw emulated::Fault("capture: a wait for an event from outside the graph");
    state_->queue.push_back({nullptr, ticket});
    return;
  }
  if (state_->capture == nullptr) {
    if (!state_->queue.empty()) throw emulated::Fault("capture: a stream with pending work joins");
    state_->capture = ticket->graph;
    state_->last_node = -1;
    state_->joined.clear();
    ticket->graph->streams.push_back(state_.get());
  }
  if (ticket->graph != state_->capture) throw emulated::Fault("capture: an event of another graph");
  if (ticket->node >= 0) state_->joined.push_back(ticket->node);
}

void Stream::synchronize() {
  ++emulated::host_waits;
  if (state_->capture != nullptr) throw emulated::Fault("capture: the host waits for a stream that is captured");
  pump([this] { return state_->queue.empty(); });
}

Graph::Graph() : state_(std::make_unique<GraphState>()) {}
Graph::~Graph() = default;

void Graph::begin_capture(Stream& stream) {
  StreamState& state = stream.state();
  if (state.capture != nullptr) throw emulated::Fault("capture: the stream is captured already");
  *state_ = {};
  state.capture = state_.get();
  state.last_node = -1;
  state.joined.clear();
  state_->streams.push_back(&state);
}

void Graph::end_capture(Stream& stream) {
  StreamState& origin = stream.state();
  if (origin.capture != state_.get()) throw emulated::Fault("capture: another stream began it");
  // Everything that joined must lie before the end of the stream that began.
  const int end = state_->add(origin, [] {});
  std::vector<bool> before(state_->nodes.size(), false);
  before[static_cast<size_t>(end)] = true;
  for (int i = end; i >= 0; --i) {
    if (!before[static_cast<size_t>(i)]) continue;
    for (const int earlier : state_->nodes[static_cast<size_t>(i)].after) before[static_cast<size_t>(earlier)] = true;
  }
  for (StreamState* captured : state_->streams) captured->capture = nullptr;
  if (!std::ranges::all_of(before, std::identity())) {
    throw emulated::Fault("capture: work of a stream that was not joined at the end");
  }
}

void Graph::launch(Stream& stream) {
  GraphState* graph = state_.get();
  enqueue(stream, [graph] { graph->run(); });
}

}  // namespace tsugi::cuda
