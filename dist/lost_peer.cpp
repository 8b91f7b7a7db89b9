#include "dist/lost_peer.h"

#include <cstdio>

#include "ops/base/error.h"

namespace tsugi {
namespace {

std::string list_of_ranks(const std::set<int>& ranks) {
  std::string text;
  for (const int rank : ranks) text += (text.empty() ? "rank " : " and rank ") + std::to_string(rank);
  return text;
}

}  // namespace

std::string in_seconds(double seconds) {
  char text[32];
  std::snprintf(text, sizeof(text), "%g s", seconds);
  return text;
}

std::string missing_ranks(const std::set<int>& data_from, const std::set<int>& to_take_ours) {
  std::string text;
  if (!data_from.empty()) text = "data from " + list_of_ranks(data_from);
  if (!to_take_ours.empty()) text += (text.empty() ? "" : ", and ") + list_of_ranks(to_take_ours) + " to take ours";
  return text;
}

void throw_lost_peer(int rank, int size, const std::string& failure) {
  throw Error(ExitCode::kPeerLost, "rank " + std::to_string(rank) + " of " + std::to_string(size) + ": " + failure,
              "a peer hangs or is lost: see its log. If ranks are only slow, raise the timeout of collectives");
}

}  // namespace tsugi
