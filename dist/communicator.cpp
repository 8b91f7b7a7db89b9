#include "dist/communicator.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstring>

#include "dist/point_to_point.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

class LocalCommunicator : public PointToPointCommunicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }

 protected:
  std::unique_ptr<Pending> post(CollectiveId id, std::vector<Transfer>, std::vector<Transfer>) override {
    LOG(FATAL) << id.to_string() << ": a message in a group of one";
  }
};

template <class T>
std::string_view bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

}  // namespace

std::unique_ptr<Communicator> make_local_communicator() { return std::make_unique<LocalCommunicator>(); }

std::vector<double> all_reduce_sum(Communicator& communicator, const std::vector<double>& values) {
  std::vector<double> sum;
  for (const std::string& bytes : communicator.all_gather_strings(bytes_of(values))) {
    CHECK_EQ(bytes.size(), values.size() * sizeof(double)) << "ranks sum different numbers of values";
    std::vector<double> part(values.size());
    if (!part.empty()) std::memcpy(part.data(), bytes.data(), bytes.size());
    if (sum.empty()) {
      sum = part;
    } else {
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += part[i];
    }
  }
  return sum;
}

int64_t all_reduce_max(Communicator& communicator, int64_t value) {
  int64_t largest = value;
  for (const std::string& bytes : communicator.all_gather_strings(bytes_of(std::vector<int64_t>{value}))) {
    int64_t other = 0;
    CHECK_EQ(bytes.size(), sizeof(other));
    std::memcpy(&other, bytes.data(), sizeof(other));
    largest = std::max(largest, other);
  }
  return largest;
}

void agree_on_errors(Communicator& communicator, int exit_code, const std::string& error) {
  const std::string mine = error.empty() ? "" : std::to_string(exit_code) + ' ' + error;
  const std::vector<std::string> all = communicator.all_gather_strings(mine);
  int code = 0;
  std::vector<std::pair<std::string, std::vector<size_t>>> complaints;  // what is said, and by which ranks
  for (size_t r = 0; r < all.size(); ++r) {
    if (all[r].empty()) continue;
    const size_t space = all[r].find(' ');
    if (complaints.empty()) code = std::stoi(all[r].substr(0, space));
    const std::string said = all[r].substr(space + 1);
    auto same = std::find_if(complaints.begin(), complaints.end(), [&](const auto& one) { return one.first == said; });
    if (same == complaints.end()) same = complaints.insert(complaints.end(), {said, {}});
    same->second.push_back(r);
  }
  if (complaints.empty()) return;
  std::string message;
  for (const auto& [said, ranks] : complaints) {
    if (!message.empty()) message += "; ";
    if (ranks.size() < all.size()) {
      message += ranks.size() == 1 ? "rank " : "ranks ";
      for (size_t i = 0; i < ranks.size(); ++i) message += (i > 0 ? ", " : "") + std::to_string(ranks[i]);
      message += ": ";
    }
    message += said;
  }
  throw Error(static_cast<ExitCode>(code), message).mark_on_all_ranks();
}

}  // namespace tsugi
