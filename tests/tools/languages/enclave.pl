#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
# enclave.pl DIR IMAGE OTHER: an enclave from a Perl program; OTHER is one that lacks everything.
use strict;
use warnings;
use Errno;
use File::Copy;
use JSON::PP;

my ($dir, $image, $other) = @ARGV;

sub set {
	my ($file, $value) = @_;

	open(my $out, '>', $file) or return $!;
	print $out "$value\n";
	close($out) or return $!;
	return 0;
}

sub get {
	my ($file) = @_;

	local $/;
	open(my $in, '<', $file) or die "$file: $!";
	return scalar <$in>;
}

# The errno's name that it was refused with.
sub refusal {
	my ($number) = @_;

	return $number == 0 ? 'OK' : $number == Errno::EINVAL ? 'EINVAL' : "$number";
}

my %values = (memory => '64M', vcpus => 2, cid => 17, debug => 1, boot_timeout => 30);
for my $file (keys %values) {
	my $error = set("$dir/$file", $values{$file});
	die "$file: $error" if $error;
}
copy($image, "$dir/image") or die "image: $!";
copy("$dir/image", "$image.back") or die "image: $!";
my $error = set("$dir/start", 1);
die "start: $error" if $error;
my $wait = get("$dir/wait");
$wait =~ s/\s+$//;
my @journal;
open(my $in, '<', "$dir/journal") or die "journal: $!";
while (my $line = <$in>) {
	push @journal, decode_json($line)->{event};
}
print encode_json({ wait => $wait, state => get("$dir/state"), events => get("$dir/events"),
	measurements => get("$dir/measurements"), journal => \@journal,
	refused => refusal(set("$dir/memory", '64MB')), unset => refusal(set("$other/start", 1)) }), "\n";
