"""Transformers: `Trainer.train`, with the optimizer and the schedule of the others."""

import tempfile

import protocol
import torch
import torch_models


class _Model(torch.nn.Module):
    def __init__(self, name):
        super().__init__()
        self.model = torch_models.make(name)

    def forward(self, x, label):
        return {"loss": torch_models.loss_of(self.model, {"x": x, "label": label})}


def train(name, every, num_rounds, at_pause):
    import transformers

    num_steps = every * num_rounds

    class Trainer(transformers.Trainer):
        def get_train_dataloader(self):
            return torch_models.Batches(name, num_steps)

    class Pause(transformers.TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            at_pause()

        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step % every == 0:
                at_pause()

    model = _Model(name)
    optimizer = torch_models.optimizer_of(model)
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            model=model,
            args=transformers.TrainingArguments(
                output_dir=folder,
                use_cpu=True,
                max_steps=num_steps,
                max_grad_norm=0.0,
                logging_steps=500,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
            ),
            optimizers=(
                optimizer,
                torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0),
            ),
            callbacks=[Pause()],
        ).train()


if __name__ == "__main__":
    protocol.answer(torch_models.make_raw, train)
