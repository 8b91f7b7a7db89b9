// The shared memory of one block, with a shadow that knows who read and wrote every word, and when.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace tsugi::emulated {

inline constexpr int kWarpLanes = 32;
inline constexpr int kMaxWarps = 32;
/// The asynchronous engine (TMA) orders its writes like one more warp.
inline constexpr int kEngine = kMaxWarps;

/// What a warp knows of the others: it comes after everything that warp w did before w's clock reached clock[w].
/// (Vector clocks: Mattern 1988; two readers and a writer per word after FastTrack, Flanagan and Freund 2009.)
using Clock = std::array<uint32_t, kMaxWarps + 1>;

inline void join(Clock& mine, const Clock& other) {
  for (size_t i = 0; i < mine.size(); ++i) mine[i] = mine[i] < other[i] ? other[i] : mine[i];
}

/// Who accesses shared memory.
struct Accessor {
  int thread = 0;  ///< index in the block; kEngine·32 is the asynchronous engine
  const Clock* clock = nullptr;
  uint32_t fences = 0;  ///< proxy fences that the thread has executed

  int warp() const { return thread / kWarpLanes; }
  uint32_t now() const { return (*clock)[static_cast<size_t>(warp())]; }
};

/// Accesses are checked against all earlier ones that no barrier orders before them. Each function throws Fault.
class SharedMemory {
 public:
  /// A new block: every byte is 0xFF (NaN in every floating type) and written by nobody.
  void reset(size_t bytes);

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

  void read(const void* address, size_t bytes, const Accessor& by);
  void write(const void* address, size_t bytes, const Accessor& by);
  /// A copy that may land from now on: a write, but nobody, the issuer included, may touch the bytes until landed().
  void begin_copy(const void* address, size_t bytes, const Accessor& by);
  /// `by` has waited for the copy: from now on it counts as written by it.
  void landed(const void* address, size_t bytes, const Accessor& by);
  /// As read(), through the asynchronous proxy: what ordinary stores wrote must have been fenced by its writer.
  /// `fences_of` holds the proxy fences executed by every thread of the block.
  void read_by_engine(const void* address, size_t bytes, const Accessor& by, const std::vector<uint32_t>& fences_of);

 private:
  enum class State : uint8_t { kUnwritten, kWritten, kWrittenByEngine, kInFlight };
  struct Writer {
    uint32_t epoch;
    uint32_t fences;
    uint16_t thread;
    uint8_t bytes;  // which of the four
    State state;
  };
  struct Reader {
    uint32_t epoch;
    uint16_t thread;
    uint8_t bytes;
  };
  struct Word {
    Writer writer;
    Reader readers[2];
  };

  template <class F>
  void for_words(const void* address, size_t bytes, F&& f);
  static bool ordered(uint16_t thread, uint32_t epoch, const Accessor& by);
  void note_reader(Word& word, uint8_t mask, const Accessor& by);
  void check_write(const Word& word, uint8_t mask, const Accessor& by, size_t at) const;
  void check_read(const Word& word, uint8_t mask, const Accessor& by, size_t at) const;
  [[noreturn]] void fail(size_t at, const Accessor& by, const std::string& what) const;

  std::unique_ptr<std::byte[]> memory_;
  size_t capacity_ = 0;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  std::vector<Word> words_;
};

}  // namespace tsugi::emulated
