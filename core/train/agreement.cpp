#include "core/train/agreement.h"

#include <memory>
#include <span>
#include <vector>

#include "core/data/crc32c.h"
#include "core/data/input_stream.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

std::string pack(const std::map<std::string, std::string>& facts) {
  std::string text;
  for (const auto& [name, value] : facts) text += name + '\0' + value + '\0';
  return text;
}

std::map<std::string, std::string> unpack(const std::string& text) {
  std::map<std::string, std::string> facts;
  size_t at = 0;
  const auto next = [&] {
    const size_t end = text.find('\0', at);
    std::string word = text.substr(at, end - at);
    at = end == std::string::npos ? text.size() : end + 1;
    return word;
  };
  while (at < text.size()) {
    const std::string name = next();
    facts[name] = next();
  }
  return facts;
}

}  // namespace

void require_agreement(Communicator& communicator, const std::map<std::string, std::string>& facts) {
  const std::vector<std::string> all = communicator.all_gather_strings(pack(facts));
  const std::map<std::string, std::string> first = unpack(all.front());
  std::string complaint;
  for (size_t rank = 1; rank < all.size(); ++rank) {
    std::map<std::string, std::string> theirs = unpack(all[rank]);
    for (const auto& [name, value] : first) {
      const std::string& other = theirs[name];
      if (other == value) continue;
      // Long values (a config) are named, not printed.
      const bool brief = value.size() + other.size() < 80;
      complaint += (complaint.empty() ? "" : "; ") + std::string("rank ") + std::to_string(rank) + " has another " +
                   name + " than rank 0" + (brief ? " (" + other + ", not " + value + ")" : "");
    }
  }
  if (!complaint.empty()) {
    throw Error(ExitCode::kUsage, "the ranks do not agree: " + complaint,
                "start all ranks with the same program, arguments and files")
        .mark_on_all_ranks();
  }
}

std::string binary_fingerprint() {
  // Not mapped: all its pages would count as this process's at once.
  const std::unique_ptr<InputStream> file = InputStream::open("/proc/self/exe");
  std::vector<char> piece(256 << 10);
  uint32_t sum = 0;
  while (const size_t bytes = file->read(piece)) sum = crc32c(std::as_bytes(std::span(piece.data(), bytes)), sum);
  return std::to_string(sum);
}

}  // namespace tsugi
