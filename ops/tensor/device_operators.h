// A device that is not the CPU: its memory, and the operators as it provides them.
//
// Every operator of ops/*/ has one front that checks shapes and asks, once per call, whether its context has a device.
// What a device does not provide it refuses with Error(kUsage) that names operator and option; nothing falls back to
// the CPU. Work is queued in the order of the calls; the host sees its results through copy_to_host().
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "ops/activation/activation_kind.h"
#include "ops/tensor/tensor.h"

namespace tsugi {

class Context;
class DeviceObjectives;
class Stopwatch;
struct AdamWStep;
struct AttentionShape;
struct ChunkRule;
struct CrossEntropyOptions;
struct Dropout;
struct HeadsView;
struct LossSum;
struct MatmulOptions;
struct RelativeBuckets;
struct Rotary;
struct StepNumberPlaces;

/// The operators mean what the functions of their names in ops/*/ do. They are called on meta contexts too: then they
/// take their workspace from context.memory(), refuse what they would refuse, and return.
class DeviceOperators {
 public:
  virtual ~DeviceOperators() = default;

  /// Device and libraries, as checkpoints record them: results are the same bits only where this is equal.
  virtual std::string describe() const = 0;
  /// The extent of square matrices whose product keeps the device busy, to measure its rate.
  virtual int64_t busy_extent() const = 0;

  /// Uninitialised memory of the device. Error(kUsage) where there is not enough.
  virtual std::shared_ptr<Storage> allocate(size_t bytes) = 0;
  /// Memory of the host that the device copies from and to at full speed (pinned).
  virtual std::shared_ptr<Storage> allocate_host(size_t bytes) = 0;
  /// From the host; `from` may change as soon as the call returns.
  virtual void copy_to_device(void* to, const void* from, size_t bytes) = 0;
  /// To the host, after all work queued so far; waits.
  virtual void copy_to_host(void* to, const void* from, size_t bytes) = 0;
  /// Between addresses of the device, in the order of the calls.
  virtual void copy(void* to, const void* from, size_t bytes) = 0;
  virtual void synchronize() = 0;
  /// Begins after the work queued so far. May not outlive the operators.
  virtual std::unique_ptr<Stopwatch> start_stopwatch() = 0;

  /// The next cross-entropy leaves its sum and count in `slot` (f64 [2], of the device), and what the host is given are
  /// zeros, for which it need not wait. Undefined: as ever again; the one must have been formed.
  virtual void leave_loss_in(const Tensor& slot) = 0;

  /// Decides by which algorithm each product that was met on meta contexts since the last call is formed from now on:
  /// as `table` (which an earlier call returned; may be empty) says for this device, or else the fastest, timed now.
  /// Returns the table with these choices added. Throws Error(kData) that names `origin` where `table` is no such text,
  /// and Error(kUsage) where the device has not enough memory left.
  virtual std::string choose_algorithms(const std::string& table, const std::string& origin) = 0;
  /// Back to the algorithms that the library suggests first.
  virtual void forget_algorithms() = 0;

  virtual void matmul(const Context& context, const Tensor& a, const Tensor& b, const Tensor& out,
                      const MatmulOptions& options) = 0;

  virtual void activation_forward(const Context& context, Activation activation, const Tensor& x,
                                  const Tensor& out) = 0;
  virtual void activation_backward(const Context& context, Activation activation, const Tensor& pre_activation,
                                   const Tensor& d_out, const Tensor& d_pre) = 0;
  virtual void gated_activation_forward(const Context& context, Activation activation, const Tensor& gate_up,
                                        const Tensor& out) = 0;
  virtual void gated_activation_backward(const Context& context, Activation activation, const Tensor& gate_up,
                                         const Tensor& d_out, const Tensor& d_gate_up) = 0;

  virtual void apply_dropout(const Context& context, const Dropout& dropout, const Tensor& x, const Tensor& out) = 0;

  /// LayerNorm; RMSNorm where beta and mean are undefined.
  virtual void residual_norm_forward(const Context& context, const Tensor& x, const Tensor& branch,
                                     const Dropout& dropout, const Tensor& gamma, const Tensor& beta, float epsilon,
                                     const Tensor& residual, const Tensor& normed, const Tensor& mean,
                                     const Tensor& rstd) = 0;
  /// LayerNorm; RMSNorm where mean and d_beta are undefined.
  virtual void residual_norm_backward(const Context& context, const Tensor& residual, const Tensor& gamma,
                                      const Tensor& mean, const Tensor& rstd, const Tensor& d_normed,
                                      const Dropout& dropout, bool has_d_residual, const Tensor& d_residual,
                                      const Tensor& d_branch, const Tensor& d_gamma, const Tensor& d_beta) = 0;

  virtual void rotary_forward(const Context& context, const Rotary& rotary, const Tensor& from, const Tensor& to,
                              const Tensor& rstd) = 0;
  virtual void rotary_backward(const Context& context, const Rotary& rotary, const Tensor& from, const Tensor& rstd,
                               const Tensor& gradient, const Tensor& d_query_gamma, const Tensor& d_key_gamma) = 0;

  virtual void attention_forward(const Context& context, const AttentionShape& shape, const HeadsView& q,
                                 const HeadsView& k, const HeadsView& v, const Dropout& dropout, const Tensor& out,
                                 const Tensor& log_sum_exp) = 0;
  virtual void attention_backward(const Context& context, const AttentionShape& shape, const HeadsView& q,
                                  const HeadsView& k, const HeadsView& v, const Dropout& dropout, const Tensor& out,
                                  const Tensor& log_sum_exp, const Tensor& d_out, const HeadsView& dq,
                                  const HeadsView& dk, const HeadsView& dv, const Tensor& d_relative_bias) = 0;
  virtual void relative_bias_forward(const Context& context, const RelativeBuckets& buckets, const Tensor& table,
                                     int64_t key_tokens, const Tensor& bias) = 0;
  virtual void relative_bias_backward(const Context& context, const RelativeBuckets& buckets, const Tensor& d_bias,
                                      int64_t key_tokens, const Tensor& d_table) = 0;

  virtual void embedding_forward(const Context& context, const Tensor& tokens, const Tensor& token_table,
                                 const Tensor& position_table, int64_t first_position, const Dropout& dropout,
                                 const Tensor& out) = 0;
  virtual void embedding_backward(const Context& context, const Tensor& tokens, const Dropout& dropout,
                                  const Tensor& d_out, const Tensor& d_token_table, const Tensor& d_position_table) = 0;

  virtual void image_tokens(const Context& context, const Tensor& patches, const Tensor& class_token,
                            const Tensor& positions, const Tensor& out) = 0;
  virtual void image_tokens_backward(const Context& context, const Tensor& d_out, const Tensor& d_patches,
                                     const Tensor& d_class_token, const Tensor& d_positions) = 0;
  virtual void mean_of_patches(const Context& context, const Tensor& x, const Tensor& out) = 0;
  virtual void mean_of_patches_backward(const Context& context, const Tensor& d_out, const Tensor& d_x) = 0;

  virtual LossSum linear_cross_entropy(const Context& context, const Tensor& hidden, const Tensor& weight,
                                       const Tensor& targets, int64_t vocabulary, const Tensor& row_loss,
                                       const Tensor& d_hidden, const Tensor& d_weight,
                                       const CrossEntropyOptions& options) = 0;

  virtual void gather_rows(const Context& context, const Tensor& x, const Tensor& indices, const Tensor& out) = 0;
  virtual void gather_rows_backward(const Context& context, const Tensor& indices, const Tensor& d_out,
                                    const Tensor& d_x) = 0;
  virtual void take_columns(const Context& context, const Tensor& x, int64_t first, float scale, const Tensor& out) = 0;
  virtual void add_to_columns(const Context& context, const Tensor& addend, int64_t first, float scale,
                              const Tensor& x) = 0;

  virtual void column_sum(const Context& context, const Tensor& x, const Tensor& out) = 0;
  virtual void add_in_place(const Context& context, const Tensor& a, const Tensor& b) = 0;
  virtual void fill_zero(const Context& context, const Tensor& x) = 0;
  virtual void convert(const Context& context, const Tensor& from, const Tensor& to) = 0;

  virtual void adamw_step(const Context& context, const AdamWStep& step, std::span<const ChunkRule> chunks,
                          const Tensor& master, const Tensor& exp_avg, const Tensor& exp_avg_sq, const Tensor& gradient,
                          const Tensor& working, const Tensor& decision) = 0;
  virtual void chunk_square_sums(const Context& context, std::span<const ChunkRule> chunks, const Tensor& buffer,
                                 const Tensor& sums) = 0;
  virtual void decide_step(const Context& context, const Tensor& numbers, const StepNumberPlaces& places,
                           float clip_norm, const Tensor& decision) = 0;

  /// What objectives beside cross-entropy need (ops/tensor/device_objectives.h).
  virtual DeviceObjectives& objectives() = 0;
};

}  // namespace tsugi
