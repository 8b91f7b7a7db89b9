#include "launch/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <optional>
#include <sstream>

#include "core/config/nearest.h"
#include "dist/launcher.h"
#include "launch/run_world.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

/// The parts of "must be …, not 7" in a message; "…" is also what --help says of the option.
std::string must_be(const std::string& what, const std::string& text) { return "must be " + what + ", not " + text; }

template <typename Number>
std::string in_words(Number number) {
  std::ostringstream text;
  text << number;
  return text.str();
}

/// Read as CLI11 does. Nothing: no number.
std::optional<long double> read_real(const std::string& text) {
  char* end = nullptr;
  const long double value = std::strtold(text.c_str(), &end);
  if (text.empty() || end != text.c_str() + text.size()) return std::nullopt;
  return value;
}

/// The type of one value of an option.
template <typename Value>
struct ElementOf {
  using type = Value;
};
template <typename Value>
struct ElementOf<std::optional<Value>> {
  using type = Value;
};
template <typename Value>
struct ElementOf<std::vector<Value>> {
  using type = Value;
};

/// What is wrong with `text` as a number of this type, which CLI11 would wrap or take for any; "": nothing.
template <typename Number>
std::string wrong_number(const std::string& text) {
  if constexpr (std::is_floating_point_v<Number>) {
    const std::optional<long double> value = read_real(text);
    if (!value) return must_be("a number", text);
    return std::isfinite(static_cast<Number>(*value)) ? "" : must_be("a finite number", text);
  } else {
    using Limits = std::numeric_limits<Number>;
    char* end = nullptr;
    const bool negative = text.starts_with('-');
    errno = 0;
    const int64_t low = std::strtoll(text.c_str(), &end, 0);
    const bool below = negative && (errno == ERANGE || std::cmp_less(low, Limits::min()));
    errno = 0;
    const uint64_t high = std::strtoull(text.c_str(), &end, 0);
    const bool above = !negative && (errno == ERANGE || std::cmp_greater(high, Limits::max()));
    if (text.empty() || end != text.c_str() + text.size()) return must_be("a whole number", text);
    if (below) return must_be("at least " + in_words(Limits::min()), text);
    return above ? must_be("at most " + in_words(Limits::max()), text) : "";
  }
}

/// Long names of its options and those of its groups.
std::vector<std::string> option_names(CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  for (CLI::App* part : app.get_subcommands({})) {
    if (!part->get_name().empty()) continue;
    const std::vector<std::string> more = option_names(*part);
    names.insert(names.end(), more.begin(), more.end());
  }
  return names;
}

std::vector<std::string> command_names(CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) {
    if (!command->get_name().empty()) names.push_back(command->get_name());
  }
  return names;
}

/// What was wrong with the arguments. CLI11 names what is missing before what it does not know.
Error usage_error(CLI::App& root, const CLI::ParseError& error) {
  CLI::App* app = &root;
  std::string path;
  while (app->remaining().empty() && !app->get_subcommands().empty()) {
    app = app->get_subcommands().front();
    path += (path.empty() ? "" : " ") + app->get_name();
  }
  const std::vector<std::string> unknown = app->remaining();
  const std::vector<std::string> commands = command_names(*app);
  const std::string lists = "`" + root.get_name() + " " + path + (path.empty() ? "" : " ") + "--help` lists " +
                            (commands.empty() ? "its options" : "the commands");
  if (unknown.empty()) {
    const bool no_command = !commands.empty() && dynamic_cast<const CLI::RequiredError*>(&error) != nullptr;
    const std::string what = no_command ? "a command is missing" : error.what();
    return {ExitCode::kUsage, path.empty() ? what : path + ": " + what, lists};
  }
  const std::string word = unknown.front().substr(0, unknown.front().find('='));
  const bool option = word.starts_with('-');
  const std::string subject = path.empty() ? "there is " : path + " has ";
  const std::string what = option             ? subject + "no option " + word
                           : commands.empty() ? path + " does not take the word \"" + unknown.front() + "\""
                                              : subject + "no command \"" + unknown.front() + "\"";
  const std::string nearest = nearest_name(word, option ? option_names(*app) : commands);
  return {ExitCode::kUsage, what, nearest.empty() ? lists : "did you mean " + nearest + "? " + lists};
}

}  // namespace

Option& Option::required() { return option_->required(), *this; }
Option& Option::show_default() { return option_->capture_default_str(), *this; }
Option& Option::excludes(const Option& other) { return option_->excludes(other.option_), *this; }
Option& Option::needs(const Option& other) { return option_->needs(other.option_), *this; }
Option& Option::section(const std::string& title) { return option_->group(title), *this; }
bool Option::given() const { return option_->count() > 0; }
std::string Option::name() const { return option_->get_name(); }
Option& Option::integer_range(int64_t smallest, int64_t largest) {
  const std::string bounds = "from " + in_words(smallest) + " to " + in_words(largest);
  const auto check = [=](const std::string& text) {
    const int64_t value = std::strtoll(text.c_str(), nullptr, 0);
    return value >= smallest && value <= largest ? "" : must_be(bounds, text);
  };
  return option_->check(check, bounds), *this;
}
Option& Option::real_range(double smallest, double largest) {
  const std::string bounds = "from " + in_words(smallest) + " to " + in_words(largest);
  const auto check = [=](const std::string& text) {
    const long double value = read_real(text).value_or(NAN);
    return value >= smallest && value <= largest ? "" : must_be(bounds, text);
  };
  return option_->check(check, bounds), *this;
}
Option& Option::range_above(double bound, double largest) {
  const std::string bounds = "greater than " + in_words(bound) + " and at most " + in_words(largest);
  const auto check = [=](const std::string& text) {
    const long double value = read_real(text).value_or(NAN);
    return value > bound && value <= largest ? "" : must_be(bounds, text);
  };
  return option_->check(check, bounds), *this;
}
Option& Option::positive() {
  const char* const bounds = "greater than 0";
  const auto check = [=](const std::string& text) {
    return read_real(text).value_or(NAN) > 0 ? "" : must_be(bounds, text);
  };
  return option_->check(check, bounds), *this;
}
Option& Option::non_negative() {
  const char* const bounds = "at least 0";
  const auto check = [=](const std::string& text) {
    return read_real(text).value_or(NAN) >= 0 ? "" : must_be(bounds, text);
  };
  return option_->check(check, bounds), *this;
}
Option& Option::one_of(std::initializer_list<const char*> values) {
  const std::vector<std::string> names(values.begin(), values.end());
  const auto check = [=](const std::string& text) {
    if (std::ranges::find(names, text) != names.end()) return std::string();
    return must_be("one of " + CLI::detail::join(names, ", "), text);
  };
  return option_->check(check, "{" + CLI::detail::join(names, ",") + "}"), *this;
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
  CLI::Option* const option = app_->add_option(names, value, description);
  using Number = typename ElementOf<Value>::type;
  if constexpr (std::is_arithmetic_v<Number>) option->check(wrong_number<Number>);
  return Option(option);
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
    // All ranks have the same command line: one says what is wrong with it, or what was asked for.
    const bool speaks = expected_rank([](const char* name) -> const char* { return std::getenv(name); }) == 0;
    if (error.get_exit_code() == 0) return speaks ? app_->exit(error) : 0;  // --help, --version
    const Error usage = usage_error(*app_, error);
    if (speaks) print_error(usage);
    return static_cast<int>(usage.code());
  }
  return exit_code_;
}

}  // namespace tsugi
