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
  std::string message;
  for (size_t r = 0; r < all.size(); ++r) {
    if (all[r].empty()) continue;
    const size_t space = all[r].find(' ');
    if (message.empty()) {
      code = std::stoi(all[r].substr(0, space));
    } else {
      message += "; ";
    }
    message += (all.size() > 1 ? "rank " + std::to_string(r) + ": " : "") + all[r].substr(space + 1);
  }
  if (!message.empty()) throw Error(static_cast<ExitCode>(code), message).mark_on_all_ranks();
}

}  // namespace tsugi
