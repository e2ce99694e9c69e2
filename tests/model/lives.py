# SPDX-License-Identifier: GPL-2.0-or-later
"""What the model says of an enclave: its values, its states, its image."""
from images import Draft, Image, VALID, plausible
from tree import Any, Content, ENCLAVE_ROWS, Enclave, O_APPEND, SETTINGS, UNSET, json_lines, json_object
from values import Refused, number, parse, trim


class Lives:
    """Of a Model."""

    # ---- values ----

    def text(self, row):
        """What a control file says now; a matcher where that cannot be foretold."""
        directory, name = row.directory, row.name
        if directory is self.root:
            if name == "events":
                return self.events(self.root)
            return self.root.error if name == "error" else Any()
        if directory is self.sim:
            return self.fault if name == "fault" else Any()
        if name in SETTINGS:
            return directory.texts.get(name, UNSET[name])
        if name == "image":
            content = directory.image.content()
            return bytes(content.data) if content else b""
        if name == "start":
            started = directory.active
            if directory.start_text and directory.start_text[1] == started:
                return directory.start_text[0]
            return b"1\n" if started else b"0\n"
        if name == "pending":
            return "".join(f"{one}\n" for one in ENCLAVE_ROWS if one in directory.pending()).encode()
        if name == "state":
            return directory.state.encode() + b"\n"
        if name == "wait":
            return directory.state.encode().ljust(8, b"\n")
        if name == "events":
            return self.events(directory)
        if name == "error":
            return directory.error
        if name in ("memory.effective", "cpus.effective", "cid.effective", "slot"):
            return directory.grant[name] if directory.grant else b"\n"
        if name in ("measurements", "image_info"):
            image = directory.image.file
            if image is None or bytes(image.data) not in VALID:
                return b""
            return VALID[bytes(image.data)] if name == "measurements" else Any(check=json_object)
        if name == "console":
            return b""
        return Any(check=json_lines)

    @staticmethod
    def events(directory):
        return "".join(f"{name} {count}\n" for name, count in directory.counters.items()).encode()

    def counted(self, enclave, counter):
        for one in (enclave, self.root):
            one.counters[counter] += 1
            one.rows["events"].touched()

    def store(self, directory, name, data, nonblock):
        """One write of a value. The errno, or None."""
        try:
            if directory is self.sim:
                self.store_sim(name, data)
            elif name == "start":
                trim(data)
                wanted = number(trim(data), 0, 1)
                return self.start(directory, data, nonblock) if wanted else self.stop(directory, data)
            else:
                directory.values[name] = parse(name, data)
                directory.texts[name] = data
                directory.compare()
        except Refused as refused:
            self.refused(Refused(refused.name, directory, name))
            return refused.name
        self.accepted(directory, name)
        return None

    def store_sim(self, name, data):
        value = trim(data)
        if name == "fault":
            if value:
                raise Refused("EINVAL")
            self.fault = data
            return
        found = self.root.entries.get(value.decode(errors="replace"))
        if not isinstance(found, Enclave):
            raise Refused("ENOENT")
        if not found.active:
            raise Refused("EINVAL")
        self.end(found, "crashed", "crashes")
        self.set_error(found, "start")
        self.unsettled.append(found)
        self.crashed = found

    def refused(self, refused):
        about = refused.about and refused.directory.told(refused.about)
        if not refused.directory.home().removed:
            refused.directory.home().records.append(("refused", refused.about, refused.name))
        self.set_error(refused.directory, about)
        refused.directory.home().about = about

    # ---- lives ----

    def enter(self, enclave, state):
        if enclave.state != state:
            enclave.rows["state"].touched()
        enclave.state = state

    def set_grant(self, enclave, grant):
        if grant or enclave.grant:
            for name in ("memory.effective", "cpus.effective", "cid.effective", "slot"):
                enclave.rows[name].touched()
        enclave.grant = grant

    def end(self, enclave, state, counter):
        enclave.records.append((state,))
        self.enter(enclave, state)
        self.counted(enclave, counter)
        self.set_grant(enclave, None)
        enclave.applied = enclave.applied_image = None
        enclave.compare()

    def causes(self, enclave):
        """The errnos that a start may have that the device or the image refuses."""
        found = set()
        image = enclave.image.file
        vcpus = enclave.value("vcpus") or len(enclave.value("cpus"))
        cpus = enclave.value("cpus")
        others = [one.grant for one in self.enclaves() if one.grant]
        taken = set().union({0, 1}, *(grant["cpus"] for grant in others))
        free = self.CPUS - len(taken)
        if bytes(image.data) not in VALID or len(image.data) > enclave.value("memory"):
            found.add("EINVAL")
        if enclave.value("memory") > 3 << 30:
            found.add("ENOMEM")
        if vcpus % 2 or any(cpu ^ 1 not in cpus for cpu in cpus):
            found.add("EINVAL")
        if vcpus > free or cpus & taken or any(cpu >= self.CPUS for cpu in cpus):
            found |= {"EBUSY", "EINVAL"} if vcpus % 2 else {"EBUSY"}
        if enclave.value("cid") and any(grant["cid"] == enclave.value("cid") for grant in others):
            found.add("EBUSY")
        return found

    def start(self, enclave, data, nonblock):
        if enclave.state == "running":
            enclave.start_text = (data, True)
            self.accepted(enclave, "start")
            return None
        if any(row.hidden and not row.settable for row in enclave.rows.values()):
            self.written(enclave)
        for row in enclave.rows.values():
            row.hidden = row.hidden and row.settable
        settings = enclave.values
        vcpus, cpus = enclave.value("vcpus"), enclave.value("cpus")
        if not settings.get("memory") or not vcpus and not cpus or vcpus and cpus and vcpus != len(cpus) or \
                not enclave.image.startable():
            self.failed(enclave)
            return "EINVAL"
        causes = self.causes(enclave)
        enclave.records.append(("starting",))
        self.unsettled.append(enclave)
        enclave.start_text = (data, True)
        enclave.rows["state"].touched()
        if causes:
            self.failed(enclave)
            return Any("OK", *causes) if nonblock else Any(*causes)
        enclave.applied = {setting: enclave.value(setting) for setting in SETTINGS}
        enclave.applied_image = enclave.image.file
        enclave.compare()
        enclave.records.append(("running",))
        self.enter(enclave, "running")
        self.counted(enclave, "starts")
        self.set_grant(enclave, {"unknown": True, "cpus": set(), "cid": 0})
        self.clear_error(enclave)
        return None

    def failed(self, enclave):
        self.end(enclave, "failed", "failures")
        self.set_error(enclave, "start")

    def stop(self, enclave, data):
        if enclave.active:
            self.unsettled.append(enclave)
            enclave.records.append(("stopping",))
            self.end(enclave, "stopped", "stops")
        enclave.start_text = (data, False)
        self.accepted(enclave, "start")
        return None

    # ---- the image ----

    def image_changed(self, enclave):
        enclave.image.known = False
        self.unsettled.append(enclave)
        enclave.compare()

    def replace_image(self, enclave, content):
        image = enclave.image
        image.replace(content)
        for handle in enclave.rows["image"].handles:
            handle.truncate = handle.writes
        self.image_changed(enclave)

    def adopt(self, enclave, staged):
        data = bytes(staged.content.data)
        if not data or not plausible(data) or not Image.is_whole(data):
            raise Refused("EINVAL", enclave, "image")
        self.replace_image(enclave, staged.content)

    def in_use(self, enclave):
        return enclave.image.file is enclave.applied_image

    def target(self, enclave, handle, offset):
        image = enclave.image
        if handle.truncate or image.stale:
            return "new"
        if image.draft:
            return "draft"
        if image.file is None or self.in_use(enclave):
            return "new"
        return "new" if offset == 0 and handle.serial != image.serial else "image"

    def write_image(self, user, enclave, handle, data, offset):
        """The errno, or None."""
        image, row = enclave.image, enclave.rows["image"]
        if handle.flags & O_APPEND:
            offset = image.end(handle.truncate)
        target = self.target(enclave, handle, offset)
        if offset == 0 and not plausible(data) or target == "new" and offset:
            handle.truncate = True
            goes_on = offset and handle.serial == image.serial
            return goes_on and image.dropped or "EINVAL"
        if target == "new":
            if not image.draft:
                image.time = row.mtime
            image.begin(Draft(Content(user.uid)))
            handle.truncate = False
        handle.serial = image.serial
        content = image.file if target == "image" else image.draft.content
        if not self.may_write(content, len(data), offset):
            if target == "image":
                self.image_changed(enclave)
            else:
                self.drop_draft(enclave)
                image.dropped = "EDQUOT"
            return "EDQUOT"
        if target == "image":
            image.file.write(data, offset)
            self.image_changed(enclave)
            return None
        draft = image.draft
        if not draft.write(data, offset):
            self.drop_draft(enclave, misled=True)
            return "EINVAL"
        if draft.is_whole():
            image.commit()
            self.image_changed(enclave)
        return None

    def drop_draft(self, enclave, misled=False):
        image, row = enclave.image, enclave.rows["image"]
        image.draft = None
        for handle in row.handles:
            handle.truncate = handle.writes
        row.mtime = image.time

    def truncate_image(self, enclave, size):
        image = enclave.image
        if size == 0:
            image.stale = True
        elif image.stale or any(handle.truncate for handle in enclave.rows["image"].handles):
            pass
        elif image.draft:
            image.draft.content.resize(size)
        elif image.file is None or size != len(image.file.data):
            raise Refused("EINVAL", enclave, "image")

    def close_image_handle(self, handle):
        row = handle.node
        enclave = row.directory
        if not handle.writes or enclave.removed:
            return
        if any(other.writes for other in row.handles if other is not handle):
            return
        draft = enclave.image.draft
        if draft and draft.is_long_enough():
            enclave.image.commit()
            self.image_changed(enclave)
        elif draft:
            self.drop_draft(enclave)
            self.refused(Refused("EINVAL", enclave, "image"))
        self.unsettled.append(enclave)
        self.merge(enclave, handle)

    @staticmethod
    def merge(enclave, closing=None):
        """An image that has the bytes of the one that runs is that one, once nobody writes it any more."""
        image, running = enclave.image, enclave.applied_image
        writers = [one for one in enclave.rows["image"].handles if one.writes and one is not closing]
        if running and image.file and image.known and running.data == image.file.data and not writers:
            image.file = running
            enclave.compare()

    def close_image_handles(self, row):
        """All that is open on it loses it at once."""
        if row.name == "image":
            for handle in row.handles:
                self.close_image_handle(handle)
