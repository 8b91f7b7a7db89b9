#include "core/optim/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

namespace tsugi {
namespace {

struct Rates {
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
  int64_t steps = 0;
  double at(int64_t step) const { return static_cast<double>(learning_rate_at(optimizer, schedule, steps, step)); }
};

Rates rates(ScheduleConfig::Kind kind, float peak, float final_fraction, int64_t warmup, int64_t steps) {
  Rates result;
  result.optimizer.set_learning_rate(peak);
  result.schedule.set_kind(kind);
  result.schedule.set_final_fraction(final_fraction);
  result.schedule.set_warmup_steps(warmup);
  result.steps = steps;
  return result;
}

void expect_rate(double actual, double expected) { EXPECT_NEAR(actual, expected, 2e-7 * expected); }

// get_lr(it) of nanoGPT's train.py for its Shakespeare recipe on a CPU: learning_rate 1e-3, min_lr 1e-4, warmup_iters
// 100, lr_decay_iters 2000; printed by Python.
TEST(Schedule, CosineIsThatOfNanoGpt) {
  const Rates cosine = rates(ScheduleConfig::COSINE, 1e-3f, 0.1f, 100, 2000);
  const std::pair<int64_t, double> golden[] = {
      {0, 9.900990099009901e-06},
      {1, 1.9801980198019803e-05},
      {50, 0.000504950495049505},
      {99, 0.0009900990099009901},
      {100, 0.001},
      {101, 0.0009999993848585915},
      {250, 0.0009862301196726987},
      {1000, 0.0005871607054625496},
      {1050, 0.00055},
      {1500, 0.0002452232927684166},
      {1999, 0.00010000061514140841},
      {2000, 0.0001},
      {2001, 0.0001},
  };
  for (const auto& [step, rate] : golden) {
    SCOPED_TRACE(step);
    expect_rate(cosine.at(step), rate);
  }
}

// The same for llm.c's GPT-2 124M, which decays to 0.
TEST(Schedule, CosineToZero) {
  const Rates cosine = rates(ScheduleConfig::COSINE, 6e-4f, 0.0f, 700, 18865);
  expect_rate(cosine.at(0), 6e-4 / 701);
  expect_rate(cosine.at(700), 6e-4);
  EXPECT_EQ(cosine.at(18865), 0.0);
  EXPECT_GT(cosine.at(18864), 0.0);
}

TEST(Schedule, Linear) {
  const Rates linear = rates(ScheduleConfig::LINEAR, 1.0f, 0.2f, 10, 110);
  expect_rate(linear.at(9), 10.0 / 11.0);
  expect_rate(linear.at(10), 1.0);
  expect_rate(linear.at(60), 0.6);
  expect_rate(linear.at(109), 0.208);
  expect_rate(linear.at(110), 0.2);
  expect_rate(linear.at(1000), 0.2);
}

TEST(Schedule, Constant) {
  const Rates constant = rates(ScheduleConfig::CONSTANT, 0.5f, 0.1f, 3, 10);
  expect_rate(constant.at(0), 0.125);
  expect_rate(constant.at(2), 0.375);
  for (const int64_t step : {3, 9, 10, 11}) expect_rate(constant.at(step), 0.5);
}

TEST(Schedule, WarmupStableDecay) {
  Rates wsd = rates(ScheduleConfig::WSD, 1.0f, 0.0f, 10, 1000);
  wsd.schedule.set_decay_steps(400);
  expect_rate(wsd.at(0), 1.0 / 11.0);
  expect_rate(wsd.at(10), 1.0);
  expect_rate(wsd.at(600), 1.0);
  expect_rate(wsd.at(700), 0.5);  // a quarter of the decay: 1 - sqrt(1/4)
  expect_rate(wsd.at(604), 0.9);  // a hundredth: 1 - sqrt(1/100)
  expect_rate(wsd.at(999), 1.0 - std::sqrt(399.0 / 400.0));
  EXPECT_EQ(wsd.at(1000), 0.0);
  EXPECT_EQ(wsd.at(2000), 0.0);
  wsd.schedule.set_final_fraction(0.1f);
  expect_rate(wsd.at(700), 0.55);
}

TEST(Schedule, WsdDecaysForAFifthUnlessTold) {
  const Rates wsd = rates(ScheduleConfig::WSD, 1.0f, 0.0f, 0, 1000);
  EXPECT_EQ(resolved_decay_steps(wsd.schedule, 1000), 200);
  expect_rate(wsd.at(800), 1.0);
  expect_rate(wsd.at(850), 0.5);
  const Rates tiny = rates(ScheduleConfig::WSD, 1.0f, 0.0f, 0, 3);
  expect_rate(tiny.at(2), 1.0);
}

TEST(Schedule, WarmupOfTheWholeRun) {
  const Rates cosine = rates(ScheduleConfig::COSINE, 1.0f, 0.1f, 10, 10);
  expect_rate(cosine.at(9), 10.0 / 11.0);
  expect_rate(cosine.at(10), 0.1);
}

}  // namespace
}  // namespace tsugi
