#include "dist/communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "ops/base/error.h"
#include "tests/dist/thread_communicator.h"

namespace tsugi {
namespace {

using ::testing::HasSubstr;
using testing::run_ranks;

TEST(LocalCommunicator, TransfersAreCopiesInOrder) {
  const auto local = make_local_communicator();
  EXPECT_EQ(local->rank(), 0);
  EXPECT_EQ(local->size(), 1);
  std::vector<int> from{1, 2, 3, 4};
  std::vector<int> to(4, 0);
  local
      ->exchange({{0, &from[0], 3 * sizeof(int)}, {0, nullptr, 0}, {0, &from[3], sizeof(int)}},
                 {{0, &to[1], 3 * sizeof(int)}, {0, nullptr, 0}, {0, &to[0], sizeof(int)}})
      ->wait();
  EXPECT_EQ(to, (std::vector<int>{4, 1, 2, 3}));
  local->all_gather(to.data(), {0, 4 * sizeof(int)})->wait();
  EXPECT_EQ(to, (std::vector<int>{4, 1, 2, 3}));
  EXPECT_EQ(local->all_gather_strings("a"), std::vector<std::string>{"a"});
  EXPECT_EQ(local->broadcast("b"), "b");
  local->barrier();
}

TEST(LocalCommunicatorDeathTest, MismatchedTransfersAreABug) {
  const auto local = make_local_communicator();
  int value = 0;
  EXPECT_DEATH(local->exchange({{0, &value, 4}}, {}), "do not match");
  EXPECT_DEATH(local->exchange({{1, &value, 4}}, {}), "no rank 1");
}

class Collectives : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Ranks, Collectives, ::testing::Values(1, 2, 3, 5));

TEST_P(Collectives, StringsOfAnyLengthArriveByRank) {
  run_ranks(GetParam(), [](Communicator& group) {
    // Around the length up to which contents travel with the first message, and all mixtures of short and long.
    for (const size_t base : {0, 1, 247, 248, 249, 100000}) {
      for (int spread : {0, 1, 300}) {
        const auto of_rank = [&](int r) {
          return std::string(base + static_cast<size_t>(spread * r), static_cast<char>('a' + r));
        };
        const std::vector<std::string> all = group.all_gather_strings(of_rank(group.rank()));
        ASSERT_EQ(static_cast<int>(all.size()), group.size());
        for (int r = 0; r < group.size(); ++r) EXPECT_EQ(all[static_cast<size_t>(r)], of_rank(r));
        for (int root = 0; root < group.size(); ++root) {
          EXPECT_EQ(group.broadcast(of_rank(group.rank()), root), of_rank(root));
        }
      }
    }
    group.barrier();
  });
}

TEST_P(Collectives, AllGatherFillsTheParts) {
  run_ranks(GetParam(), [](Communicator& group) {
    std::vector<size_t> offsets{0};  // rank 0 has nothing
    for (int r = 0; r < group.size(); ++r) offsets.push_back(offsets.back() + static_cast<size_t>(r * 3000));
    std::vector<char> buffer(offsets.back(), '?');
    const auto mine = static_cast<size_t>(group.rank());
    std::fill(buffer.begin() + static_cast<ptrdiff_t>(offsets[mine]),
              buffer.begin() + static_cast<ptrdiff_t>(offsets[mine + 1]), static_cast<char>('a' + group.rank()));
    group.all_gather(buffer.data(), offsets)->wait();
    for (size_t r = 0; r < static_cast<size_t>(group.size()); ++r) {
      for (size_t i = offsets[r]; i < offsets[r + 1]; ++i) ASSERT_EQ(buffer[i], static_cast<char>('a' + r)) << i;
    }
  });
}

TEST_P(Collectives, SumsAreFormedInRankOrder) {
  run_ranks(GetParam(), [](Communicator& group) {
    // 1e16 + 1 - 1e16 is 0 in this order, 1 or 2 in others.
    const double values[] = {1e16, 1.0, -1e16, 3.0, 0.125};
    double expected = 0.0;
    for (int r = 0; r < group.size(); ++r) expected += values[r];
    const std::vector<double> sum = all_reduce_sum(group, {values[group.rank()], static_cast<double>(group.rank())});
    EXPECT_EQ(sum, (std::vector<double>{expected, group.size() * (group.size() - 1) / 2.0}));
    EXPECT_EQ(all_reduce_max(group, -7 - group.rank()), -7);
    EXPECT_EQ(all_reduce_max(group, int64_t{1} << (40 + group.rank())), int64_t{1} << (39 + group.size()));
    EXPECT_TRUE(all_reduce_sum(group, {}).empty());
  });
}

TEST_P(Collectives, EveryRankThrowsTheErrorOfTheLowest) {
  run_ranks(GetParam(), [](Communicator& group) {
    EXPECT_NO_THROW(agree_on_errors(group, 0, ""));
    const bool fails = group.rank() == 1 || group.rank() == group.size() - 1;
    const int lowest = std::min(1, group.size() - 1);
    try {
      agree_on_errors(group, 3 + group.rank(), fails ? "shard " + std::to_string(group.rank()) + " is damaged" : "");
      ADD_FAILURE() << "no error on rank " << group.rank();
    } catch (const Error& error) {
      EXPECT_EQ(static_cast<int>(error.code()), 3 + lowest);
      const std::string text = error.what();
      EXPECT_THAT(text, HasSubstr("shard " + std::to_string(lowest) + " is damaged"));
      if (group.size() > 1) {
        EXPECT_THAT(text, HasSubstr("rank 1: "));
      }
      if (group.size() > 2) {
        EXPECT_THAT(text, HasSubstr("shard " + std::to_string(group.size() - 1) + " is damaged"));
      }
    }
  });
}

}  // namespace
}  // namespace tsugi
