// How communicators say that a peer is lost.
#pragma once

#include <set>
#include <string>

namespace tsugi {

/// "1.5 s"
std::string in_seconds(double seconds);

/// What a collective waits for: "data from rank 2 and rank 3, and rank 2 to take ours".
std::string missing_ranks(const std::set<int>& data_from, const std::set<int>& to_take_ours);

/// Throws Error(kPeerLost).
[[noreturn]] void throw_lost_peer(int rank, int size, const std::string& failure);

}  // namespace tsugi
