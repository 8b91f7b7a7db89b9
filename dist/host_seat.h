// What the ranks of a host lay out in memory that they share: one seat for each.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "dist/doorbell.h"

namespace tsugi {

/// Announces bytes that lie in their sender's own memory.
struct HostLetter {
  std::atomic<uint64_t> number{0};  ///< 1, 2, … of the mailbox; written last
  const void* data = nullptr;       ///< in the sender's address space
  uint64_t bytes = 0;
  uint64_t collective = 0;  ///< CollectiveId::sequence
};

/// From one rank to another, in order: letter n lies in place n mod kLetters until it is taken.
struct alignas(64) HostMailbox {
  static constexpr uint64_t kLetters = 30;
  std::atomic<uint64_t> taken{0};  ///< the last letter whose bytes the receiver has copied
  alignas(64) std::array<HostLetter, kLetters> letters;
};

/// Of one rank. The mailboxes of its letters from the ranks of the host, by local rank, follow it in memory.
struct alignas(64) HostSeat {
  Doorbell thread_bell;             ///< of the communication thread
  Doorbell bell;                    ///< of the thread that calls collectives
  std::atomic<uint32_t> failed{0};  ///< its letters no longer hold
  pid_t process = 0;
  uint64_t proof = 0;                  ///< what lies at `proof_at` …
  const uint64_t* proof_at = nullptr;  ///< … in the memory of the process

  HostMailbox* mailboxes() { return reinterpret_cast<HostMailbox*>(this + 1); }
  /// Of memory for a seat, wherever it begins.
  static size_t bytes(int local_size) {
    return alignof(HostSeat) - 1 + sizeof(HostSeat) + sizeof(HostMailbox) * static_cast<size_t>(local_size);
  }
  /// Where the seat lies in such memory: the same place in every process, since all map whole pages.
  static void* place_in(void* memory) {
    size_t room = alignof(HostSeat);
    return std::align(alignof(HostSeat), 1, memory, room);
  }
};

static_assert(std::atomic<uint64_t>::is_always_lock_free);

}  // namespace tsugi
