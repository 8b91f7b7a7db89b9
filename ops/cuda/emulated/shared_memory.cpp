#include "ops/cuda/emulated/shared_memory.h"

#include <cstring>

#include "ops/cuda/emulated/fault.h"

namespace tsugi::emulated {
namespace {

constexpr size_t kBaseAlignment = 1024;  // of swizzled tiles

std::string name_of_thread(int thread) {
  return thread / kWarpLanes == kEngine ? "the asynchronous engine" : "thread " + std::to_string(thread);
}

}  // namespace

void SharedMemory::reset(size_t bytes) {
  if (capacity_ < bytes + kBaseAlignment) {
    capacity_ = bytes + kBaseAlignment;
    memory_ = std::make_unique<std::byte[]>(capacity_);
    void* base = memory_.get();
    size_t space = capacity_;
    data_ = static_cast<std::byte*>(std::align(kBaseAlignment, bytes, base, space));
  }
  bytes_ = bytes;
  if (bytes > 0) std::memset(data_, 0xFF, bytes);
  words_.assign((bytes + 3) / 4, Word{});
}

void SharedMemory::fail(size_t at, const Accessor& by, const std::string& what) const {
  throw Fault("shared memory, byte " + std::to_string(at) + ": " + name_of_thread(by.thread) + " " + what);
}

template <class F>
void SharedMemory::for_words(const void* address, size_t bytes, F&& f) {
  const auto begin = static_cast<size_t>(static_cast<const std::byte*>(address) - data_);
  const size_t end = begin + bytes;
  if (static_cast<const std::byte*>(address) < data_ || end > bytes_) {
    throw Fault("shared memory: an access of " + std::to_string(bytes) + " bytes at byte " +
                std::to_string(static_cast<const std::byte*>(address) - data_) + " of " + std::to_string(bytes_));
  }
  for (size_t at = begin; at < end;) {
    const size_t next = std::min(at / 4 * 4 + 4, end);
    const auto mask = static_cast<uint8_t>(((1u << (next - at)) - 1u) << (at % 4));
    f(words_[at / 4], mask, at);
    at = next;
  }
}

bool SharedMemory::ordered(uint16_t thread, uint32_t epoch, const Accessor& by) {
  if (thread == by.thread) return true;
  const auto warp = static_cast<size_t>(thread / kWarpLanes);
  // Lanes of one warp are ordered once the warp has synchronised; other warps once their clock has been handed over.
  return static_cast<int>(warp) == by.warp() ? epoch < by.now() : epoch <= (*by.clock)[warp];
}

void SharedMemory::check_read(const Word& word, uint8_t mask, const Accessor& by, size_t at) const {
  const Writer& writer = word.writer;
  if (writer.state == State::kUnwritten) fail(at, by, "reads what nobody has written");
  if ((writer.bytes & mask) == 0) return;
  if (writer.state == State::kInFlight) {
    fail(at, by, "reads a copy issued by " + name_of_thread(writer.thread) + " that has not been waited for");
  }
  if (!ordered(writer.thread, writer.epoch, by)) {
    fail(at, by, "reads what " + name_of_thread(writer.thread) + " wrote, with no barrier between");
  }
}

void SharedMemory::check_write(const Word& word, uint8_t mask, const Accessor& by, size_t at) const {
  const Writer& writer = word.writer;
  if ((writer.bytes & mask) != 0) {
    if (writer.state == State::kInFlight) {
      fail(at, by, "overwrites a copy issued by " + name_of_thread(writer.thread) + " that has not been waited for");
    }
    if (!ordered(writer.thread, writer.epoch, by)) {
      fail(at, by, "overwrites what " + name_of_thread(writer.thread) + " wrote, with no barrier between");
    }
  }
  for (const Reader& reader : word.readers) {
    if ((reader.bytes & mask) != 0 && !ordered(reader.thread, reader.epoch, by)) {
      fail(at, by, "overwrites what " + name_of_thread(reader.thread) + " may still read, with no barrier between");
    }
  }
}

void SharedMemory::note_reader(Word& word, uint8_t mask, const Accessor& by) {
  const Reader mine{by.now(), static_cast<uint16_t>(by.thread), mask};
  // A reader that is ordered before this one need not be kept: who is ordered after this one is after it too.
  for (Reader& reader : word.readers) {
    if (reader.bytes == 0 || ((reader.bytes | mask) == mask && ordered(reader.thread, reader.epoch, by))) {
      reader = mine;
      return;
    }
  }
  if (word.readers[0].thread / kWarpLanes == word.readers[1].thread / kWarpLanes) word.readers[1] = mine;
}

void SharedMemory::read(const void* address, size_t bytes, const Accessor& by) {
  for_words(address, bytes, [&](Word& word, uint8_t mask, size_t at) {
    check_read(word, mask, by, at);
    note_reader(word, mask, by);
  });
}

void SharedMemory::write(const void* address, size_t bytes, const Accessor& by) {
  const State state = by.warp() == kEngine ? State::kWrittenByEngine : State::kWritten;
  for_words(address, bytes, [&](Word& word, uint8_t mask, size_t at) {
    check_write(word, mask, by, at);
    // Another thread may have written the other half of the word in the same interval: both stay noted.
    const bool same = word.writer.thread == by.thread && word.writer.epoch == by.now() && word.writer.state == state;
    const auto covered = static_cast<uint8_t>(same ? word.writer.bytes | mask : mask);
    word.writer = {by.now(), by.fences, static_cast<uint16_t>(by.thread), covered, state};
    for (Reader& reader : word.readers) reader.bytes = static_cast<uint8_t>(reader.bytes & ~mask);
  });
}

void SharedMemory::begin_copy(const void* address, size_t bytes, const Accessor& by) {
  for_words(address, bytes, [&](Word& word, uint8_t mask, size_t at) {
    check_write(word, mask, by, at);
    word.writer = {by.now(), by.fences, static_cast<uint16_t>(by.thread), mask, State::kInFlight};
    for (Reader& reader : word.readers) reader.bytes = static_cast<uint8_t>(reader.bytes & ~mask);
  });
}

void SharedMemory::landed(const void* address, size_t bytes, const Accessor& by) {
  const State state = by.warp() == kEngine ? State::kWrittenByEngine : State::kWritten;
  for_words(address, bytes, [&](Word& word, uint8_t mask, size_t) {
    word.writer = {by.now(), by.fences, static_cast<uint16_t>(by.thread), mask, state};
  });
}

void SharedMemory::read_by_engine(const void* address, size_t bytes, const Accessor& by,
                                  const std::vector<uint32_t>& fences_of) {
  for_words(address, bytes, [&](Word& word, uint8_t mask, size_t at) {
    check_read(word, mask, by, at);
    const Writer& writer = word.writer;
    if (writer.state == State::kWritten && fences_of[writer.thread] <= writer.fences) {
      fail(at, by,
           "reads through the asynchronous proxy what " + name_of_thread(writer.thread) +
               " wrote without a proxy fence after it");
    }
    note_reader(word, mask, by);
  });
}

}  // namespace tsugi::emulated
