#include "dist/affinity.h"

#include <gtest/gtest.h>

#include <thread>

namespace tsugi {
namespace {

using Cpus = std::vector<int>;

/// Two packages of two cores of two hardware threads, numbered as Linux does: siblings are four apart.
CpuPlace two_sockets(int cpu) { return {cpu % 4 / 2, cpu % 4}; }

std::vector<Cpus> equal(int ranks, const Cpus& cpus) { return std::vector<Cpus>(static_cast<size_t>(ranks), cpus); }

TEST(Affinity, EqualMasksAreCutEvenlyAlongCores) {
  const Cpus all{0, 1, 2, 3, 4, 5, 6, 7};
  // One rank per package; the first threads of its two cores come before their siblings.
  EXPECT_EQ(share_of_cpus(equal(2, all), 0, two_sockets).cpus, (Cpus{0, 1, 4, 5}));
  EXPECT_EQ(share_of_cpus(equal(2, all), 1, two_sockets).cpus, (Cpus{2, 3, 6, 7}));
  EXPECT_EQ(share_of_cpus(equal(4, all), 3, two_sockets).cpus, (Cpus{3, 7}));
  EXPECT_EQ(share_of_cpus(equal(1, all), 0, two_sockets).cpus, all);
  EXPECT_EQ(share_of_cpus(equal(2, all), 0, two_sockets).threads, 4);
}

TEST(Affinity, SharesCoverAllCpusOnce) {
  for (int cpus = 1; cpus <= 9; ++cpus) {
    Cpus all;
    for (int cpu = 0; cpu < cpus; ++cpu) all.push_back(cpu);
    for (int ranks = 1; ranks <= 12; ++ranks) {
      Cpus together;
      for (int rank = 0; rank < ranks; ++rank) {
        const CpuShare share = share_of_cpus(equal(ranks, all), rank, two_sockets);
        if (ranks > cpus) {
          EXPECT_TRUE(share.cpus.empty());
          EXPECT_EQ(share.threads, 1);
          continue;
        }
        EXPECT_EQ(share.threads, static_cast<int>(share.cpus.size()));
        EXPECT_GE(share.threads, cpus / ranks);
        EXPECT_LE(share.threads, cpus / ranks + 1);
        together.insert(together.end(), share.cpus.begin(), share.cpus.end());
      }
      std::sort(together.begin(), together.end());
      if (ranks <= cpus) {
        EXPECT_EQ(together, all);
      }
    }
  }
}

TEST(Affinity, OwnMasksOfTheLauncherAreKept) {
  const CpuShare share = share_of_cpus({{0, 4}, {2, 3, 6}}, 1, two_sockets);
  EXPECT_EQ(share.cpus, (Cpus{2, 3, 6}));
  EXPECT_EQ(share.threads, 3);
}

TEST(Affinity, OverlappingMasksPinNobody) {
  const CpuShare share = share_of_cpus({{0, 1, 2, 3}, {2, 3, 4, 5}, {6}}, 0, two_sockets);
  EXPECT_TRUE(share.cpus.empty());
  EXPECT_EQ(share.threads, 2);
  EXPECT_EQ(share_of_cpus({{0, 1, 2, 3}, {2, 3, 4, 5}, {6}}, 2, two_sockets).cpus, Cpus{6});
}

TEST(Affinity, CpuListsAsText) {
  EXPECT_EQ(describe_cpus({}), "");
  EXPECT_EQ(describe_cpus({3}), "3");
  EXPECT_EQ(describe_cpus({9, 0, 1, 2, 3, 8, 11}), "0-3,8-9,11");
  EXPECT_EQ(parse_cpus("0-3,8-9,11"), (Cpus{0, 1, 2, 3, 8, 9, 11}));
  EXPECT_EQ(parse_cpus(""), Cpus{});
}

TEST(Affinity, OfAThread) {
  std::thread([] {
    const Cpus all = allowed_cpus();
    ASSERT_FALSE(all.empty());
    allow_cpus({all.back()});
    EXPECT_EQ(allowed_cpus(), Cpus{all.back()});
    std::thread([&] { EXPECT_EQ(allowed_cpus(), Cpus{all.back()}); }).join();
    allow_cpus_of_launcher();
    EXPECT_GE(allowed_cpus().size(), all.size());
  }).join();
}

}  // namespace
}  // namespace tsugi
