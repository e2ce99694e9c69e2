/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A fault plan of any bytes: what is taken is within its bounds, written anew it is the same plan, and it ends. */
#include "faults.h"
#include "fuzz.h"
#include <nefs/ne_pci.h>

static const char *const commands[NE_CMD_MAX] = {
	[NE_CMD_ENCLAVE_START] = "ENCLAVE_START",
	[NE_CMD_ENCLAVE_GET_SLOT] = "ENCLAVE_GET_SLOT",
	[NE_CMD_ENCLAVE_STOP] = "ENCLAVE_STOP",
	[NE_CMD_SLOT_ALLOC] = "SLOT_ALLOC",
	[NE_CMD_SLOT_FREE] = "SLOT_FREE",
	[NE_CMD_SLOT_ADD_MEM] = "SLOT_ADD_MEM",
	[NE_CMD_SLOT_ADD_VCPU] = "SLOT_ADD_VCPU",
	[NE_CMD_SLOT_COUNT] = "SLOT_COUNT",
	[NE_CMD_NEXT_SLOT] = "NEXT_SLOT",
	[NE_CMD_SLOT_INFO] = "SLOT_INFO",
	[NE_CMD_SLOT_ADD_BULK_VCPUS] = "SLOT_ADD_BULK_VCPUS",
};

static void print_rule(const struct fault_rule *rule, FILE *out)
{
	must(rule->command > 0 && rule->command < NE_CMD_MAX && commands[rule->command]);
	fprintf(out, "%s ", commands[rule->command]);
	switch (rule->kind) {
	case FAULT_FAIL:
		must(rule->value >= 1 && rule->value <= FAULT_ERRNO_MAX);
		fprintf(out, "fail %u", rule->value);
		break;
	case FAULT_DELAY:
		must(rule->value <= FAULT_DELAY_MAX);
		fprintf(out, "delay %u", rule->value);
		break;
	default:
		must(rule->kind == FAULT_DROP);
		fputs("drop", out);
	}
	if (!rule->forever) {
		must(rule->left >= 1 && rule->left <= FAULT_COUNT_MAX);
		fprintf(out, " %u", rule->left);
	}
	fputc('\n', out);
}

static void parse_again(const struct fault_plan *plan)
{
	struct fault_plan again;
	unsigned int spurious = 1;
	struct nefs_error err = { 0 };
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	must(out);
	for (size_t i = 0; i < plan->count; i++)
		print_rule(&plan->rules[i], out);
	must(fclose(out) == 0);
	must(fault_plan_parse(text, size, &again, &spurious, &err) == 0);
	must(spurious == 0 && again.count == plan->count);
	for (size_t i = 0; i < plan->count; i++) {
		const struct fault_rule *a = &plan->rules[i], *b = &again.rules[i];

		must(a->command == b->command && a->kind == b->kind && a->value == b->value);
		must(a->forever == b->forever && a->left == b->left);
	}
	free(text);
}

/* How many commands it will strike: by the rules of a kind for a command, the first with counts left. */
static void strike(struct fault_plan *plan)
{
	for (uint32_t command = 0; command < NE_CMD_MAX; command++) {
		struct fault_plan before = *plan;
		struct fault_effect effect = fault_plan_strike(plan, command);
		int fails = 0, drops = 0;

		must(effect.fail >= 0 && effect.fail <= FAULT_ERRNO_MAX);
		must(effect.delay_ms <= FAULT_DELAY_MAX);
		must(plan->count == before.count);
		for (size_t i = 0; i < plan->count; i++) {
			const struct fault_rule *now = &plan->rules[i], *then = &before.rules[i];
			const bool struck = now->left != then->left;

			must(!struck || (then->command == command && !then->forever &&
						now->left == then->left - 1));
			fails += then->command == command && then->kind == FAULT_FAIL &&
				 (then->forever || then->left);
			drops += then->command == command && then->kind == FAULT_DROP &&
				 (then->forever || then->left);
		}
		must(!effect.fail == !fails && !effect.drop == !drops);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct fault_plan untouched = { .count = 77 };
	struct fault_plan plan = untouched;
	unsigned int spurious = 77;
	struct nefs_error err = { 0 };
	const int result = fault_plan_parse((const char *)data, size, &plan, &spurious, &err);

	must_tell(result, &err);
	if (result) {
		must(plan.count == untouched.count && spurious == 77);
		return 0;
	}
	must(plan.count <= FAULT_RULES_MAX && spurious <= size);
	parse_again(&plan);
	strike(&plan);
	strike(&plan);
	return 0;
}
