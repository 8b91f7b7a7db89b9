#include "launch/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <optional>

#include "ops/base/error.h"

namespace tsugi {

Option& Option::required() { return option_->required(), *this; }
Option& Option::show_default() { return option_->capture_default_str(), *this; }
Option& Option::excludes(const Option& other) { return option_->excludes(other.option_), *this; }
Option& Option::needs(const Option& other) { return option_->needs(other.option_), *this; }
Option& Option::section(const std::string& title) { return option_->group(title), *this; }
bool Option::given() const { return option_->count() > 0; }
std::string Option::name() const { return option_->get_name(); }
Option& Option::integer_range(int64_t smallest, int64_t largest) {
  return option_->check(CLI::Range(smallest, largest)), *this;
}
Option& Option::real_range(double smallest, double largest) {
  return option_->check(CLI::Range(smallest, largest)), *this;
}
Option& Option::positive() { return option_->check(CLI::PositiveNumber), *this; }
Option& Option::non_negative() { return option_->check(CLI::NonNegativeNumber), *this; }
Option& Option::one_of(std::initializer_list<const char*> values) {
  return option_->check(CLI::IsMember(std::vector<std::string>(values.begin(), values.end()))), *this;
}
Option& Option::take_all() { return option_->take_all(), *this; }
Option& Option::one_each() {
  option_->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  return *this;
}
Option& Option::separated(char by) { return option_->delimiter(by), *this; }

Command Command::subcommand(const std::string& name, const std::string& description) {
  return {app_->add_subcommand(name, description), exit_code_};
}
void Command::require_subcommand() { app_->require_subcommand(1); }

template <typename Value>
Option Command::option(const std::string& names, Value& value, const std::string& description) {
  return Option(app_->add_option(names, value, description));
}
template Option Command::option(const std::string&, std::string&, const std::string&);
template Option Command::option(const std::string&, int&, const std::string&);
template Option Command::option(const std::string&, int64_t&, const std::string&);
template Option Command::option(const std::string&, uint64_t&, const std::string&);
template Option Command::option(const std::string&, double&, const std::string&);
template Option Command::option(const std::string&, std::optional<std::string>&, const std::string&);
template Option Command::option(const std::string&, std::optional<int>&, const std::string&);
template Option Command::option(const std::string&, std::optional<double>&, const std::string&);
template Option Command::option(const std::string&, std::vector<std::string>&, const std::string&);
template Option Command::option(const std::string&, std::vector<int32_t>&, const std::string&);
template Option Command::option(const std::string&, std::vector<double>&, const std::string&);

Option Command::flag(const std::string& names, bool& value, const std::string& description) {
  return Option(app_->add_flag(names, value, description));
}

Command Command::group(const std::string& name, const std::string& description) {
  return {app_->add_option_group(name, description), exit_code_};
}
void Command::require_one() { app_->require_option(1); }

void Command::run(std::function<int()> action) {
  app_->callback([action = std::move(action), exit_code = exit_code_] { *exit_code = action(); });
}

CommandLine::CommandLine(const std::string& name, const std::string& description, const std::string& version)
    : app_(std::make_unique<CLI::App>(description, name)) {
  app_->require_subcommand(1);
  app_->set_version_flag("--version", version);
  app_->get_formatter()->column_width(34);
}
CommandLine::~CommandLine() = default;

int CommandLine::run(std::vector<std::string> arguments) {
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants a vector
  try {
    app_->parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    return app_->exit(error) == 0 ? 0 : static_cast<int>(ExitCode::kUsage);
  }
  return exit_code_;
}

}  // namespace tsugi
